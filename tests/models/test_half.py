"""Models stored as float16."""

from __future__ import annotations

import numpy as np
import pytest

from naturalize.models.folder import describe, save_model
from naturalize.models.load import load_model
from naturalize.models.zoo import build

torch = pytest.importorskip("torch")


@pytest.fixture
def network():
    torch.manual_seed(4)
    return build("custom_cnn", 3, weights="none", input_size=32, options={"channels": [8, 16]})


def test_half_gives_back_each_number_rounded_to_float16(network, tmp_path):
    state = {k: v.clone() for k, v in network.module.state_dict().items()}
    save_model(tmp_path / "half", network.module, network.config, half=True)
    assert describe(tmp_path / "half")["stored"] == "float16"
    module, config = load_model(tmp_path / "half")
    assert config == network.config
    for key, value in module.state_dict().items():
        assert value.dtype == state[key].dtype
        expected = state[key].half().float() if value.is_floating_point() else state[key]
        assert torch.equal(value, expected), key
    # saving changes nothing of what is saved
    assert all(torch.equal(v, state[k]) for k, v in network.module.state_dict().items())


def test_half_is_half_as_large(network, tmp_path):
    sizes = {}
    for half in (False, True):
        save_model(tmp_path / str(half), network.module, network.config, half=half)
        sizes[half] = (tmp_path / str(half) / "weights.safetensors").stat().st_size
    assert describe(tmp_path / "False")["stored"] == "float32"
    assert sizes[True] < 0.6 * sizes[False]


@pytest.mark.parametrize("number", [65_505.0, 70_000.0, 1e30, -1e9])
def test_what_float16_cannot_hold_is_kept_exactly(network, tmp_path, number):
    statistics = network.module.blocks[0][1].running_var
    statistics[3] = number
    save_model(tmp_path / "half", network.module, network.config, half=True)
    found = load_model(tmp_path / "half")[0].blocks[0][1].running_var
    if abs(number) < 65_520:  # rounds to the largest number there is
        assert found[3] == 65_504
    else:
        assert torch.equal(found, statistics)


def test_a_number_that_is_none_does_not_hide_what_overflows(network, tmp_path):
    statistics = network.module.blocks[0][1].running_var
    statistics[0], statistics[1] = np.inf, 1e9
    save_model(tmp_path / "half", network.module, network.config, half=True)
    assert load_model(tmp_path / "half")[0].blocks[0][1].running_var[1] == 1e9


def test_half_weights_start_another_network(network, tmp_path):
    save_model(tmp_path / "half", network.module, network.config, half=True)
    other = build(
        "custom_cnn",
        5,
        weights=str(tmp_path / "half"),
        input_size=32,
        options={"channels": [8, 16]},
    )
    ours = other.module.blocks[0][0].weight
    assert ours.dtype == torch.float32
    assert torch.equal(ours, network.module.blocks[0][0].weight.half().float())
