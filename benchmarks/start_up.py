"""Seconds until Python, the package and the command are ready, as ratios in the same run.

    python -m benchmarks.start_up [--rounds 9]

The reference is ``python -c pass``. Rounds alternate, and each time is the shortest of its rounds:
other work on the machine only makes a process slower.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

#: What is started, by name; the first is the reference.
STARTED = {
    "python -c pass": ["-c", "pass"],
    "import naturalize": ["-c", "import naturalize"],
    "naturalize --help": ["-m", "naturalize", "--help"],
    "naturalize predict --help": ["-m", "naturalize", "predict", "--help"],
    "naturalize --version": ["-m", "naturalize", "--version"],
}


def shortest(rounds: int) -> dict[str, float]:
    """Return name → seconds of the quickest start of ``rounds``."""
    found = dict.fromkeys(STARTED, float("inf"))
    for _ in range(rounds):
        for name, arguments in STARTED.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            found[name] = min(found[name], time.perf_counter() - begin)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    seconds = shortest(parser.parse_args().rounds)
    reference, *_ = seconds.values()
    print("| started | seconds | beyond the reference | ratio |\n|---|--:|--:|--:|")
    for name, value in seconds.items():
        print(f"| `{name}` | {value:.3f} | {value - reference:.3f} | {value / reference:.1f} |")


if __name__ == "__main__":
    main()
