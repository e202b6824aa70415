"""How sure an answer is for an image from elsewhere: by a temperature of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from naturalize.models.config import NetworkConfig
from naturalize.models.folder import read_config, save_model
from naturalize.prediction.predictor import in_kind
from naturalize.prediction.standardise import Standardised

PLAIN = NetworkConfig("custom_cnn", ("a", "b", "c"), 32, (0.5,) * 3, (0.5,) * 3, "scratch", 0.5)
LOGITS = np.array([1.0, 0.2, -0.7])


@pytest.mark.parametrize(("flags", "temperature"), [((), 0.5), (("standardised",), 2.0)])
def test_standardised_images_have_their_own_temperature(flags, temperature):
    config = replace(PLAIN, temperature_elsewhere=2.0)
    made = Standardised(np.zeros((4, 4, 3), np.uint8), flags)
    found = in_kind(softmax(LOGITS / 0.5).astype(np.float32), made, config)
    np.testing.assert_allclose(found, softmax(LOGITS / temperature), atol=1e-6)


def test_without_one_all_images_are_alike():
    row = softmax(LOGITS / 0.5).astype(np.float32)
    made = Standardised(np.zeros((4, 4, 3), np.uint8), ("standardised",))
    np.testing.assert_array_equal(in_kind(row, made, PLAIN), row)


@pytest.mark.parametrize("temperature", [None, 1.7])
def test_it_is_kept_in_the_model_folder(tmp_path, temperature):
    torch = pytest.importorskip("torch")
    config = replace(PLAIN, temperature_elsewhere=temperature)
    path = save_model(tmp_path / "model", torch.nn.Linear(2, 3), config)
    assert read_config(path) == config
