"""``python -m tools.ship``: a model folder and its evaluations to a shipped model with its card."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import jinja2

from naturalize.base.artifacts import read_json, read_manifest
from naturalize.dataset.split import Split
from naturalize.models.export import export_model
from naturalize.models.folder import MODEL, WEIGHTS, elsewhere_of

_HERE = Path(__file__).parent
_SHIPPED = _HERE.parents[1] / "src" / "naturalize" / "models" / "shipped"

#: What goes into the wheel; histories and plots stay with the study.
_FILES = ("artifact.json", MODEL, WEIGHTS)


def main() -> None:
    """Copy the model, write its graph, list its training images, write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", default="pbc11")
    parser.add_argument("--split", type=Path, required=True, help="what it was trained on")
    parser.add_argument("--test", type=Path, required=True, help="evaluation on held-out images")
    parser.add_argument("--foreign", type=Path, help="evaluation on another laboratory's images")
    parser.add_argument("--untouched", type=Path, help="the same, images not standardised")
    options = parser.parse_args()
    read_manifest(options.model, "model")
    out = _SHIPPED / options.name
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    inner = elsewhere_of(options.model)
    for part in (options.model, *([inner] if inner else [])):
        place = out / part.relative_to(options.model)
        place.mkdir(exist_ok=True)
        for name in _FILES:
            shutil.copy2(part / name, place / name)
    exported = export_model(out)
    split = Split.load(options.split)
    seen = sorted({*split.ids("train"), *split.ids("val")})
    (out / "training_images.txt").write_text("\n".join(seen) + "\n")
    evaluations = {
        name: _evaluation(getattr(options, name)) for name in ("test", "foreign", "untouched")
    }
    counts = {part: len(split.ids(part)) for part in ("train", "val", "test")}
    described = read_json(options.model / MODEL)
    elsewhere = read_json(inner / MODEL) if inner else None
    size = sum(file.stat().st_size for file in out.rglob(WEIGHTS)) / 1e6
    template = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string((_HERE / "card.md.j2").read_text())
    card = template.render(
        name=options.name,
        model=described,
        counts=counts,
        megabytes=size,
        elsewhere=elsewhere,
        **evaluations,
    )
    (out / "MODEL_CARD.md").write_text(card)
    print(f"{out}: {size:.1f} MB; engines differ by {exported.difference:.1e}")
    print(f"test {json.dumps(_short(evaluations['test']))}")


def _evaluation(path: Path | None) -> dict[str, Any] | None:
    return read_json(path / "metrics.json") if path else None


def _short(found: dict[str, Any] | None) -> dict[str, Any]:
    return {name: (found or {}).get(name) for name in ("n", "macro_f1", "accuracy")}


if __name__ == "__main__":
    main()
