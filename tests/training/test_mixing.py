"""MixUp and CutMix: what is mixed, how much of it, and from which draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from naturalize.base.rng import rng  # noqa: E402
from naturalize.training.losses import mix  # noqa: E402


def flat_images(n: int = 6, height: int = 12, width: int = 18) -> torch.Tensor:
    """Images of one value each, their number: a mixture tells what it is made of."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).repeat(1, 3, height, width)


@settings(deadline=None)  # torch's first call takes its time
@given(seed=st.integers(0, 300), alpha=st.sampled_from([0.2, 1.0, 5.0]))
def test_mixup_is_the_weighted_sum_of_partners(seed, alpha):
    images = flat_images()
    mixed, partner, share = mix(images.clone(), rng(seed, "mix"), mixup=alpha, cutmix=0.0)
    assert 0 <= share <= 1
    assert sorted(partner.tolist()) == list(range(6))
    expected = share * images + (1 - share) * images[partner]
    torch.testing.assert_close(mixed, expected)


@settings(deadline=None)  # torch's first call takes its time
@given(seed=st.integers(0, 300), alpha=st.sampled_from([0.2, 1.0, 5.0]))
def test_cutmix_sets_one_rectangle_of_the_partner_and_tells_its_area(seed, alpha):
    images = flat_images()
    mixed, partner, share = mix(images.clone(), rng(seed, "mix"), mixup=0.0, cutmix=alpha)
    own = (mixed == images) & (images[partner] != images)
    theirs = (mixed == images[partner]) & (images[partner] != images)
    for i in range(len(images)):
        if partner[i] == i:
            assert (mixed[i] == images[i]).all()
            continue
        assert (own[i] | theirs[i]).all()
        rows, columns = np.nonzero(theirs[i, 0].numpy())
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) if len(rows) else 0
        assert len(rows) == area, "a full rectangle"
        assert own[i, 0].float().mean() == pytest.approx(share, abs=1e-6)


def test_shares_follow_the_beta_distribution():
    shares = np.array(
        [mix(flat_images(2), rng(0, i), mixup=0.4, cutmix=0.0)[2] for i in range(2000)]
    )
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.05)


def test_with_both_a_coin_decides():
    cut = 0
    for i in range(400):
        mixed, _, _ = mix(flat_images(), rng(1, i), mixup=1.0, cutmix=1.0)
        cut += bool((mixed == mixed.round()).all())
    assert 150 < cut < 250


def test_equal_keys_mix_equally():
    first, second = (mix(flat_images(), rng(4, "mix", 9), mixup=1.0, cutmix=1.0) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[2] == second[2]
