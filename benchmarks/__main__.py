"""``python -m benchmarks``: run every benchmark in turn, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run them all; those that lack their data say so and are passed over."""
    here = Path(__file__).parent
    for name in sorted(p.stem for p in here.glob("*.py") if not p.stem.startswith("_")):
        print(f"\n## {name}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"{here.name}.{name}"], check=False)


if __name__ == "__main__":
    main()
