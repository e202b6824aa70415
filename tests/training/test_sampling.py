"""Which rows an epoch draws, class weights, and the store of decoded pixels."""

from __future__ import annotations

import errno
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from naturalize.base.errors import NaturalizeError
from naturalize.training.dataset import EpochSampler, epoch_rows
from naturalize.training.losses import class_weights
from naturalize.training.pixels import PixelStore, RecordStore

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def targets_of(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@given(counts=sizes, draws=st.integers(1, 40), epochs=st.integers(1, 6), seed=st.integers(0, 9))
def test_no_row_comes_again_before_all_others(counts, draws, epochs, seed):
    targets = targets_of(counts)
    rows = np.concatenate([epoch_rows(targets, epoch, draws, seed=seed) for epoch in range(epochs)])
    assert len(rows) == draws * epochs
    for start in range(0, len(rows), len(targets)):
        piece = rows[start : start + len(targets)]
        assert len(set(piece.tolist())) == len(piece)


@given(counts=sizes, draws=st.integers(1, 40), epochs=st.integers(1, 6), seed=st.integers(0, 9))
def test_balanced_epochs_draw_classes_equally_and_waste_no_row(counts, draws, epochs, seed):
    targets = targets_of(counts)
    drawn = [epoch_rows(targets, epoch, draws, seed=seed, balanced=True) for epoch in range(epochs)]
    for rows in drawn:
        assert len(rows) == draws
        per_class = np.bincount(targets[rows], minlength=len(counts))
        assert per_class.max() - per_class.min() <= 1
    uses = np.bincount(np.concatenate(drawn), minlength=len(targets))
    for label in range(len(counts)):
        its = uses[targets == label]
        assert its.max() - its.min() <= 1


@given(
    counts=sizes,
    share=st.integers(1, 4),
    processes=st.integers(1, 4),
    steps=st.integers(1, 5),
    epoch=st.integers(0, 3),
    balanced=st.booleans(),
)
def test_processes_share_every_batch_of_one_order(counts, share, processes, steps, epoch, balanced):
    targets, batch = targets_of(counts), share * processes

    def drawn(rank: int, of: int) -> list:
        sampler = EpochSampler(
            targets,
            steps * batch,
            batch=batch,
            rank=rank,
            processes=of,
            seed=3,
            balanced=balanced,
        )
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler)
        return found

    whole = drawn(0, 1)
    shares = [drawn(rank, processes) for rank in range(processes)]
    for step in range(steps):
        pieces = [one[step * share : (step + 1) * share] for one in shares]
        together = [draw for piece in pieces for draw in piece]
        assert together == whole[step * batch : (step + 1) * batch]
    assert len({draw.place for one in shares for draw in one}) == steps * batch


def test_an_epoch_depends_on_seed_and_number_alone():
    targets = targets_of([5, 9])
    first = epoch_rows(targets, 3, 14, seed=1)
    np.testing.assert_array_equal(first, epoch_rows(targets, 3, 14, seed=1))
    assert not np.array_equal(first, epoch_rows(targets, 4, 14, seed=1))
    assert not np.array_equal(first, epoch_rows(targets, 3, 14, seed=2))


@given(counts=sizes)
def test_class_weights_are_scikit_learns(counts):
    targets = targets_of(counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=targets)
    np.testing.assert_allclose(class_weights(targets, len(counts)), expected, rtol=1e-6)


def picture(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_what_was_put_is_got_by_any_process(tmp_path):
    store = PixelStore(tmp_path / "p", 5, 6)
    assert store.get(3) is None
    assert store.missing().tolist() == [0, 1, 2, 3, 4]
    store.put(3, picture(3))
    store.put(0, picture(0))
    for seen in (store, PixelStore(tmp_path / "p", 5, 6), pickle.loads(pickle.dumps(store))):
        np.testing.assert_array_equal(seen.get(3), picture(3))
        np.testing.assert_array_equal(seen.get(0), picture(0))
        assert seen.get(1) is None
        assert seen.missing().tolist() == [1, 2, 4]


def test_records_of_any_shape_and_type_come_back(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    store = RecordStore(tmp_path / "r", 4, (2, 3), np.float32)
    for row in (2, 0):
        store.put(row, values[row])
    again = RecordStore(tmp_path / "r", 4, (2, 3), np.float32)
    np.testing.assert_array_equal(again.get(2), values[2])
    assert again.get(2).dtype == np.float32
    assert again.missing().tolist() == [1, 3]


def test_a_record_cut_by_a_kill_does_not_count(tmp_path):
    store = PixelStore(tmp_path / "p", 2, 6)
    (tmp_path / "p").write_bytes(b"half of a record")
    assert store.get(0) is None
    assert store.missing().tolist() == [0, 1]


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    store = PixelStore(tmp_path / "p", 2, 6)

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NaturalizeError, match=r"no space left.*free some space"):
        store.put(0, picture(0))


@given(
    real=st.integers(2, 30),
    made=st.integers(2, 60),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 9),
)
def test_composites_have_their_share_whatever_their_number(real, made, share, seed):
    targets = np.arange(real + made) % 2
    sampler = EpochSampler(targets, 40, seed=seed, balanced=True, composites=(real, share))
    for epoch in range(3):
        sampler.set_epoch(epoch)
        rows = np.array([draw.row for draw in sampler])
        assert len(rows) == 40
        assert (rows >= real).sum() == round(share * 40)


@given(
    classes=st.integers(2, 6),
    few=st.integers(1, 5),
    draws=st.integers(30, 60),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 9),
)
def test_classes_are_balanced_over_real_images_and_composites_of_some(
    classes, few, draws, share, seed
):
    few = min(few, classes - 1)
    real, made = np.repeat(np.arange(classes), 7), np.repeat(np.arange(few), 5)
    targets = np.concatenate([real, made])
    sampler = EpochSampler(targets, draws, seed=seed, balanced=True, composites=(len(real), share))
    seen = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        rows = np.array([draw.row for draw in sampler])
        seen.append(rows)
        assert len(rows) == draws
        composed = rows[rows >= len(real)]
        assert len(composed) == round(share * draws)
        of_class = np.bincount(targets[composed], minlength=few)
        assert of_class.max() - of_class[:few].min() <= 1
        if -(-len(composed) // few) <= draws // classes:  # their classes' share holds them
            each = np.bincount(targets[rows], minlength=classes)
            assert each.max() - each.min() <= 1
    uses = np.bincount(np.concatenate(seen), minlength=len(targets))
    for label in range(classes):
        its = uses[: len(real)][real == label]
        assert its.max() - its.min() <= 1
