"""The order in which cells are shown: doubt, clusters, similarity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.rng import rng
from naturalize.review.service.intake.order import doubt_of, ordered, vectors_of


@pytest.mark.parametrize(
    ("shares", "sure", "candidates", "flag", "label", "wanted"),
    [
        ([0.9, 0.1], 0.9, ("A",), "", "A", 0.2),
        ([1.0, 0.0], 1.0, (), "", "A", 0.0),
        ([0.5, 0.5], 0.5, (), "", "A", 1.0),
        ([1.0, 0.0], 1.0, ("A", "B"), "", "A", 0.5),
        ([1.0, 0.0], 1.0, (), "unsure", "A", 0.6),
        ([1.0, 0.0], 1.0, (), "unsure: like nothing seen", "A", 0.8),
        (None, 0.7, (), "", "A", 0.3),
        (None, None, (), "", "A", 0.5),
        (None, None, (), "no cell", None, 1.0),
    ],
)
def test_doubt_is_the_margin_raised_by_what_else_is_known(
    shares, sure, candidates, flag, label, wanted
) -> None:
    given_ = None if shares is None else np.array(shares)
    assert doubt_of(given_, sure, candidates, flag, label) == pytest.approx(wanted)


def test_cells_without_probabilities_are_all_alike() -> None:
    found = vectors_of(np.array([[0.5, 0.5], [np.nan, np.nan], [0.0, 1.0]]))
    assert found[0].tolist() == [0, 0]
    assert found[1].tolist() == [0, 0]
    assert found[2, 1] > found[2, 0]


def test_two_groups_of_a_class_share_no_cluster() -> None:
    draw = rng(0, "order")
    near = draw.normal(0, 0.1, (60, 4)) + np.repeat([[0.0], [9.0]], 30, axis=0)
    found = ordered([0] * 60, np.zeros(60), near.astype(np.float32))
    assert not set(found.cluster[:30]) & set(found.cluster[30:])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-1, 3), max_size=400),
    st.integers(0, 5),
    st.integers(0, 1000),
)
def test_every_cell_has_one_place_and_clusters_are_of_one_class(labels, seed, first) -> None:
    draw = rng(seed, "cells")
    n = len(labels)
    doubt = np.where(np.array(labels, int) < 0, 1.0, draw.random(n))
    vectors = draw.normal(size=(n, 3)).astype(np.float32)
    found = ordered(labels, doubt, vectors, first=first)
    again = ordered(labels, doubt, vectors, first=first)
    assert (found.cluster == again.cluster).all()
    assert sorted(found.rank) == list(range(first, first + n))
    by_rank = found.cluster[np.argsort(found.rank)]
    assert (np.diff(by_rank) >= 0).all()
    classes = np.array(labels, int)[np.argsort(found.rank)]
    assert (np.diff(classes) >= 0).all()
    for number in np.unique(found.cluster):
        inside = found.cluster == number
        assert inside.sum() <= 60
        assert len(set(np.array(labels)[inside])) == 1
        assert len({value >= 0.2 for value in doubt[inside]}) == 1
