"""The parts of a step: schedule, frozen parts, the process's settings."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")


@given(total=st.integers(2, 300), share=st.floats(0, 0.9))
def test_the_rate_rises_to_one_and_falls_towards_nought(total, share):
    from naturalize.training.optimiser import rate_factor

    warmup = int(total * share)
    rates = np.array([rate_factor(step, total, warmup) for step in range(total)])
    assert rates.max() == pytest.approx(1.0)
    assert (rates > 0).all()
    top = max(0, warmup - 1)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) <= 1e-12).all()
    assert rates[-1] <= 1.0


def test_the_rate_after_warm_up_is_torchs_cosine():
    from naturalize.training.optimiser import rate_factor

    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20)
    for step in range(20):
        assert rate_factor(step, 20, 0) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator only")
def test_freed_memory_is_kept_and_not_given_back():
    code = (
        "import numpy as np, resource\n"
        "from naturalize.base.process import keep_memory\n"
        "print(keep_memory())\n"
        "np.ones(4_000_000)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): np.ones(4_000_000)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}

    def faults(**more: str) -> tuple[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**clean, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        said, count = done.stdout.split()
        return said, int(count)

    said, kept = faults()
    if said == "False":
        pytest.skip("not glibc, or another allocator is preloaded")
    # the environment names its own settings: then ours stay away, and 32 MB are mapped each time
    said, given_back = faults(MALLOC_MMAP_THRESHOLD_="1000000", MALLOC_TOP_PAD_="0")
    assert said == "False"
    assert kept < given_back / 10
