"""Randomness: every draw is named by a seed and keys, never by the state of a worker."""

from __future__ import annotations

import hashlib

import numpy as np


def rng(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the generator of ``seed`` and ``keys``: PCG64, seeded with their BLAKE2b hash.

    ``keys`` say what the draw is for, such as ``("plan", "SNE", 17)``. Equal seeds and keys give
    equal draws on every machine, in any order and in any process; different keys give independent
    ones.

    Examples
    --------
    >>> int(rng(7, "plan", 3).integers(1000)) == int(rng(7, "plan", 3).integers(1000))
    True
    >>> int(rng(7, "plan", 3).integers(10**9)) == int(rng(7, "plan", 4).integers(10**9))
    False
    """
    text = "\x1f".join([repr(int(seed)), *(f"{type(k).__name__}:{k}" for k in keys)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def seed_of(seed: int, *keys: str | int) -> int:
    """Return a 63-bit integer seed for ``seed`` and ``keys``, for libraries that want a number."""
    return int(rng(seed, *keys).integers(2**63 - 1))
