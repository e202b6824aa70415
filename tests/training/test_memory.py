"""Too little memory: the batch is worked off in pieces, and the step stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from toy import TINY, fit

from naturalize.base.errors import NaturalizeError

torch = pytest.importorskip("torch")

#: Without batch norm, so that pieces and the whole batch are the same sum.
PLAIN = TINY.model_copy(update={"model": "test_convnext", "input_size": 32, "epochs": 2})

ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
)


def fill_memory(monkeypatch, error: BaseException, *, fits: int, epoch: int = 0) -> list[int]:
    """Let steps of more than ``fits`` images at a time fail from an epoch on; list the pieces."""
    from naturalize.training.learner import Learner

    ours, tried = Learner.step, []

    def step(self, batch):
        tried.append(self.pieces)
        if self.epoch >= epoch and len(batch["target"]) / self.pieces > fits:
            raise error
        return ours(self, batch)

    monkeypatch.setattr(Learner, "step", step)
    return tried


def table(model) -> np.ndarray:
    return np.loadtxt(model / "history.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def unbroken(toys, tmp_path_factory):
    return fit(toys, tmp_path_factory.mktemp("unbroken") / "model", PLAIN)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_batches_are_halved_until_they_fit_and_the_result_stays(
    toys, unbroken, tmp_path, monkeypatch, capsys, error
):
    from safetensors.torch import load_file

    tried = fill_memory(monkeypatch, error, fits=3, epoch=1)
    model = fit(toys, tmp_path / "model", PLAIN)
    steps = TINY.samples_per_epoch // TINY.batch_size
    # the first epoch is not trained again
    assert tried == [1] * steps + [1, 2] + [4] * steps
    said = capsys.readouterr().err
    assert "out of memory: each batch of 12 is now worked off 6 images at a time" in said
    assert "worked off 3 images at a time" in said
    np.testing.assert_allclose(table(model), table(unbroken), rtol=2e-3)
    ours, theirs = (load_file(p / "weights.safetensors") for p in (model, unbroken))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=2e-4, msg=name)


def test_when_not_even_one_image_fits_it_says_so(toys, tmp_path, monkeypatch):
    tried = fill_memory(monkeypatch, ERRORS[0], fits=0)
    with pytest.raises(NaturalizeError, match=r"not even one image.*smaller input_size"):
        fit(toys, tmp_path / "model", PLAIN)
    assert tried == [1, 2, 4, 8]
    assert not (tmp_path / "model").exists()


def test_the_pieces_are_remembered_by_the_next_start(toys, tmp_path, monkeypatch):
    tried = fill_memory(monkeypatch, MemoryError(), fits=6)

    def stop(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("naturalize.models.folder.save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(toys, tmp_path / "m", PLAIN, work=tmp_path / "work")
    (tmp_path / "work" / "state.ckpt").unlink()
    tried.clear()
    fit(toys, tmp_path / "m", PLAIN, work=tmp_path / "work")
    assert set(tried) == {2}


def test_other_errors_are_passed_on(toys, tmp_path, monkeypatch):
    fill_memory(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), fits=0)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(toys, tmp_path / "model", PLAIN)
