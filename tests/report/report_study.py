"""A small but complete study folder in the real formats, and a reader of pages, for the tests."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import (
    file_hash,
    read_json,
    read_manifest,
    write_bytes,
    write_json,
    write_table,
    writing,
)
from naturalize.base.images import write_image
from naturalize.base.rng import rng


def rewritten(file: Path) -> None:
    """Make the artifact that a changed file lies in say that it was written so."""
    manifest = file.parent / "artifact.json"
    if manifest.is_file():
        raw = read_json(manifest)
        write_json(manifest, {**raw, "files": {**raw["files"], file.name: file_hash(file)}})


LABELS = ("BA", "BNE", "EO", "SNE")
PER_CLASS = {"BA": 40, "BNE": 16, "EO": 36, "SNE": 16}
COLOURS = {"BA": (70, 50, 120), "BNE": (120, 80, 150), "EO": (190, 110, 110), "SNE": (110, 90, 160)}

#: A file name that would run if it were not escaped.
HOSTILE = "<script>alert('x')</script> & \"q\".jpg"

SETTINGS = """\
version: 1
name: four-classes
seed: 3
protocol: {protocol}
data:
  root: images
  phantom: null
  scheme: pbc11
runs:
  real-only: {{model: custom_cnn, composites: false}}
  naturalize: {{model: custom_cnn, composites: true}}
"""


def picture(label: str, number: int, size: int = 96) -> np.ndarray:
    """A disc of the class's colour among red ones on a light ground: RGB uint8 (size, size, 3)."""
    draw = rng(5, "picture", label, number)
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size, 3), (244, 226, 208), float)
    for _ in range(7):
        cx, cy = draw.uniform(0, size, 2)
        image[(x - cx) ** 2 + (y - cy) ** 2 < (size / 8) ** 2] = (214, 150, 140)
    cx, cy = draw.normal(size / 2, 9, 2)
    image[(x - cx) ** 2 + (y - cy) ** 2 < (size / 5) ** 2] = COLOURS.get(label, (90, 70, 140))
    return np.clip(image + draw.normal(0, 7, image.shape), 0, 255).astype(np.uint8)


def write_images(root: Path) -> None:
    """Write a labelled tree with a duplicate, a label conflict, a broken file and junk in it."""
    for label, n in PER_CLASS.items():
        for i in range(n):
            write_image(root / label.lower() / f"{label}_{i}.jpg", picture(label, i))
    shutil.copy(root / "eo/EO_0.jpg", root / "eo/EO_900.jpg")
    shutil.copy(root / "bne/BNE_1.jpg", root / "sne/SNE_901.jpg")
    write_bytes(root / "ba/BA_902.jpg", b"no image at all")
    write_bytes(root / "ba/.DS_169665.jpg", b"junk")
    write_image(root / "ig/IG_7.jpg", picture("IG", 7))


def build_study(folder: Path, root: Path, *, protocol: str = "honest") -> None:
    """Write every artifact of a study with two runs over the images in ``root``."""
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

    catalog = Catalog.build(root, scheme="pbc11")
    catalog.save(folder / "catalog")
    split = Split.build(catalog, conflicts="drop", seed=3)
    split.save(folder / "split")
    write_audit_artifact(folder / "audit", catalog)
    write_cells(folder, catalog, split)
    for run, skill in (("real-only", 0.62), ("naturalize", 0.86)):
        write_model(folder / "models" / run, skill, composites=run == "naturalize")
        write_evaluation(folder / "evaluations" / run, catalog, split, skill, protocol)
    from naturalize.evaluation.compare import write_comparisons

    names = ("real-only", "naturalize")
    write_comparisons({n: folder / "evaluations" / n for n in names}, folder / "comparisons.json")
    write_explanations(folder)
    write_bytes(folder / "study.yaml", SETTINGS.format(protocol=protocol).encode())
    write_log(folder)


def write_audit_artifact(out: Path, catalog: object) -> None:
    from naturalize.dataset.audit import audit

    with writing(out, "audit") as folder:
        pictures = {"duplicates": "audit/duplicates.jpg", "sizes": "audit/sizes.svg"}
        pictures["background tints"] = "audit/sizes.svg"
        write_json(folder / "audit.json", {**audit(catalog), "pictures": pictures})
        write_image(folder / "audit/duplicates.jpg", np.full((60, 1700, 3), 230, np.uint8))
        svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 90"><rect width="9"/></svg>'
        write_bytes(folder / "audit/sizes.svg", svg.encode())


def write_cells(folder: Path, catalog, split) -> None:
    """Write cells, bank and plan: one target cell an image, every fifth of them rejected."""
    usable = catalog.usable().to_pylist()
    n = len(usable)
    outcomes = {
        "image_id": [row["image_id"] for row in usable],
        "path": [row["path"] for row in usable],
        "outcome": ["ok"] * (n - 2) + ["no cell found"] * 2,
        "n_wbc": [1] * (n - 2) + [0] * 2,
        "n_rbc": [7] * (n - 2) + [0] * 2,
        "n_platelet": [0] * (n - 1) + [1],
    }
    with writing(folder / "cells", "cells") as out:
        write_table(out / "outcomes.parquet", pa.table(outcomes))
        found = [disc_of(row, i) for i, row in enumerate(usable[: n - 2])]
        write_table(out / "cells.parquet", pa.Table.from_pylist(found))
    train = set(split.ids("train"))
    mine = [row for row in usable if row["image_id"] in train]
    rejected = [i % 5 == 4 for i in range(len(mine))]
    cells = {
        "cell_id": [f"{row['image_id']}-0" for row in mine],
        "image_id": [row["image_id"] for row in mine],
        "kind": ["wbc"] * len(mine),
        "label": [row["label"] for row in mine],
        "target": [True] * len(mine),
        "accepted": [not r for r in rejected],
        "reason": ["touches the border" if r else None for r in rejected],
    }
    with writing(folder / "bank", "bank") as out:
        write_table(out / "cells.parquet", pa.table(cells))
        write_json(out / "bank.json", {"root": ".", "part": "train", "counts": {}})
        write_image(out / "sheet.jpg", np.full((300, 900, 3), 240, np.uint8))
    write_plan(folder / "plan", [row for row in mine if row["label"] in ("BNE", "SNE")])


def disc_of(row: dict, number: int) -> dict:
    """A square cell of 20 × 20 pixels near the centre of an image."""
    from naturalize.imaging.runlength import encode

    box = {"x0": 30, "y0": 40, "x1": 50, "y1": 60}
    mask = encode(np.ones((20, 20), bool)).tolist()
    kind = ("wbc", "rbc", "platelet")[number % 3]
    return {"cell_id": f"c{number}", "image_id": row["image_id"], "kind": kind, **box, "mask": mask}


def write_plan(folder: Path, parents: list[dict], n: int = 30) -> None:
    def row(i: int) -> dict:
        parent = parents[i % len(parents)]
        cell = {"cell_id": "c", "image_id": parent["image_id"], "kind": "wbc", "blend": "hard"}
        cell |= {"scale": 1.0, "stain_scale": [1.0, 1.0, 1.0], "blur": i / n}
        return {
            "recipe_id": f"{i:016x}",
            "label": parent["label"],
            "mode": "paper",
            "background_id": None,
            "width": 360,
            "height": 363,
            "placements": [cell, *[{**cell, "kind": "rbc"}] * 6],
            "finish": {"codec": "jpeg", "quality": 95},
        }

    with writing(folder, "plan") as out:
        write_table(out / "plan.parquet", pa.Table.from_pylist([row(i) for i in range(n)]))
        told = {
            "mode": "paper",
            "settings": {"width": 360, "background": [253.0, 229.5], "max_reuse": None},
            "targets": {"BNE": n},
            "seed": 3,
            "rejections": {"red cell without room": 12},
            "reuse": {"BNE": {"cells": 9, "most": 4}},
        }
        write_json(out / "plan.json", told)
        lineage = {"n_composites": n, "n_parents": len(parents), "outside": 0, "outside_ids": []}
        write_json(out / "lineage.json", {**lineage, "statement": f"0 of {n} …"})
        write_image(out / "sheet.jpg", np.full((400, 1800, 3), 236, np.uint8))


def write_model(folder: Path, skill: float, *, composites: bool) -> None:
    with writing(folder, "model", settings={"skill": skill}) as out:
        card = {
            "architecture": "custom_cnn",
            "classes": list(LABELS),
            "input_size": 96,
            "weights_source": "scratch",
            "parameters": 421_004,
            "protocol": "honest",
            "training": {
                "settings": {"mode": "scratch", "composites": composites, "seed": 3},
                "epochs_run": 8,
                "best_epoch": 6,
            },
            "metrics": {"macro_f1": skill - 0.03},
        }
        write_json(out / "model.json", card)
        lines = ["epoch,train_loss,val_loss,val_macro_f1,val_accuracy,seconds"]
        for e in range(1, 9):
            loss = 1.4 * 0.75**e
            f1 = skill * (1 - 0.6**e)
            lines.append(f"{e},{loss:.4f},{loss + 0.1 + 0.01 * e:.4f},{f1:.4f},{f1 + 0.02:.4f},3.1")
        write_bytes(out / "history.csv", "\n".join(lines).encode())


def write_evaluation(folder: Path, catalog, split, skill: float, protocol: str) -> None:
    from naturalize.evaluation.evaluate import score_table

    test = set(split.ids("test"))
    rows = [row for row in catalog.usable().to_pylist() if row["image_id"] in test]
    draw = rng(1, "predictions", str(skill))
    out: dict[str, list] = {"image_id": [], "path": [], "label": [], "predicted": []}
    probabilities = []
    for row in rows:
        right = draw.random() < skill
        twin = {"BNE": "SNE", "SNE": "BNE"}.get(row["label"], "BNE")
        called = row["label"] if right else twin
        p = np.full(len(LABELS), 0.1 / (len(LABELS) - 1))
        p[LABELS.index(called)] = 0.9
        probabilities.append(p)
        for key in ("image_id", "path", "label"):
            out[key].append(row[key])
        out["predicted"].append(called)
    values = np.array(probabilities, np.float32)
    out["confidence"] = values.max(axis=1).tolist()
    for i, label in enumerate(LABELS):
        out[f"prob_{label}"] = values[:, i].tolist()
    table = pa.table({**out, "group": pa.nulls(len(rows), pa.string())})
    schema = pa.schema(
        [
            (name, pa.float32() if name.startswith(("prob", "conf")) else pa.string())
            for name in table.column_names
        ]
    )
    table = table.cast(schema)
    result = score_table(table, protocol=protocol, resamples=200)
    with writing(folder, "evaluation", settings={"skill": skill}) as made:
        write_table(made / "predictions.parquet", table)
        write_json(made / "metrics.json", {**result, "model": "custom_cnn", "skipped": []})


def write_explanations(folder: Path) -> None:
    """Explain the first mistake and a right call of each class of the run ``naturalize``."""
    from naturalize.base.artifacts import read_table

    run = folder / "evaluations" / "naturalize"
    rows = read_table(run / "predictions.parquet").to_pylist()
    wrong = [row for row in rows if row["label"] != row["predicted"]][:3]
    right = {row["label"]: row for row in rows if row["label"] == row["predicted"]}
    inputs = {"evaluations/naturalize": read_manifest(run).fingerprint}
    entries = []
    with writing(folder / "explanations", "explanation", inputs=inputs) as out:
        for row in [*right.values(), *wrong]:
            image = picture(row["label"], 3)
            original = f"images/{row['image_id']}.jpg"
            write_image(out / original, image)
            for method in ("score-cam", "grad-cam"):
                file = f"{row['image_id']}-{method}.jpg"
                write_image(out / "overlays" / file, image[:, ::-1])
                told = {k: row[k] for k in ("image_id", "path", "label", "predicted", "confidence")}
                entries.append({**told, "method": method, "overlay": file, "image": original})
        write_json(out / "explanations.json", entries)
        write_json(out / "checks.json", checks(sorted(right)))


def checks(labels: list[str]) -> dict[str, object]:
    """Made-up curves and shares: the first class looks at red cells."""
    curve = {"n": 5, "insertion": [0.1, 0.8, 0.9], "deletion": [0.9, 0.3, 0.1]}
    areas = {"insertion_auc": 0.654, "deletion_auc": 0.321}
    names = ("nucleus", "cytoplasm", "red cells", "other cells", "slide")
    shares = dict(zip(names, (0.17, 0.23, 0.41, 0.0, 0.19), strict=True))
    area = dict(zip(names, (0.12, 0.13, 0.31, 0.02, 0.42), strict=True))
    return {
        "fractions": [0.0, 0.5, 1.0],
        "methods": dict.fromkeys(("score-cam", "middle of the image"), curve | areas),
        "classes": {
            label: {"n": 2, "heat": shares, "area": area, "looks_at_red_cells": label == labels[0]}
            for label in labels
        },
    }


def write_log(folder: Path) -> None:
    costs = {"catalog": (2.1, 180.4), "split": (0.2, 181.0), "train-naturalize": (312.4, 1420.0)}
    stages = {
        name: {"seconds": s, "peak_mb": mb, "fingerprint": "00aa11bb22cc33dd", "skipped": s < 1}
        for name, (s, mb) in costs.items()
    }
    versions = {"naturalize": "0.1.0", "python": "3.11.9", "numpy": "2.1.0"}
    write_json(
        folder / "study.json", {"name": "four-classes", "stages": stages, "versions": versions}
    )


VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(study: Path) -> Page:
    """Render the report of a study folder and read it."""
    from naturalize.report.folder import open_study
    from naturalize.report.page import render

    return Page(render(open_study(study)))
