"""Explain images and write the `explanation` artifact: maps, overlays, a sheet."""

from __future__ import annotations

import io
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import artifacts
from naturalize.base.console import warn
from naturalize.base.errors import ImageReadError, InputError, SettingsError, unknown
from naturalize.base.images import content_hash, decode_image, encode_image, read_image, write_image
from naturalize.base.shards import resumable_rows
from naturalize.explain.checks import (
    FRACTIONS,
    MIDDLE,
    Heat,
    area_under,
    insertion_and_deletion,
    middle,
    of_classes,
    of_methods,
)
from naturalize.explain.methods import (
    METHODS,
    default_methods,
    explain,
)
from naturalize.explain.neighbours import Training, write_neighbours
from naturalize.explain.overlay import overlay
from naturalize.explain.picks import Pick, pick_for_explanation
from naturalize.explain.sheet import ON_SHEET, explained_sheet
from naturalize.explain.shown import Viewer

#: Masks that Score-CAM uses an image at most. On EfficientNet-Lite0 (1,280 maps) 32 groups give
#: maps that correlate with the full ones at 0.99 on average, for a fortieth of the passes.
CHANNELS = 32

_SHARD = pa.schema(
    [
        ("predicted", pa.string()),
        ("confidence", pa.float32()),
        ("problem", pa.string()),
        ("size", pa.int32()),
        ("map", pa.binary()),
        ("image", pa.binary()),
        ("insertion", pa.list_(pa.float32())),
        ("deletion", pa.list_(pa.float32())),
    ]
)


def explain_images(
    model: Any,
    items: Sequence[Pick],
    root: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] | None = None,
    layer: str | None = None,
    channels: float | None = CHANNELS,
    masks: Mapping[str, np.ndarray] | None = None,
    checks: bool = True,
    training: Training | None = None,
    work: str | Path | None = None,
    inputs: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Explain each image's predicted class by each method, and write an `explanation` artifact.

    ``InputError`` if there is no image to explain, or none can be read; ``SettingsError`` for an
    unknown method, layer or class, or a method that does not fit the network.

    Parameters
    ----------
    model
        As for `naturalize.explain.methods.explainable`, or a predictor that standardises
        (`naturalize.prediction.predictor.standardising`): the standardised image is explained, by
        the network that answered for it.
    items, root
        The images, and the folder that their paths start from; unreadable ones are named in a
        warning and left out, as is a second one with the same ``image_id``.
    methods
        Some of `METHODS`; those that fit the network by default.
    layer, channels
        As for `naturalize.explain.methods.explain`.
    masks
        ``image_id`` → bool (H, W), the cell that the label speaks of; others are found by the
        package's segmenter. Each entry says how much of the heat lies on it.
    checks
        Whether each map is tested by insertion and deletion, beside an order that knows nothing but
        the middle of the image (`naturalize.explain.checks`).
    training
        Training images: the nearest by the model's features stand beside each explained one. The
        model is a `TorchPredictor` (a model folder), else ``SettingsError``.
    work
        Folder for finished pieces, removed at the end; ``.<name>.work`` beside ``out`` by default.
    inputs, settings
        Name → fingerprint of the artifacts behind this, and more that decided which images these
        are, for the manifest.
    """
    from naturalize.models.torch_predictor import TorchPredictor

    root, out = Path(root), Path(out)
    if not items:
        raise InputError("nothing to explain: no image was given")
    viewer = Viewer(model)
    if training is not None and not isinstance(viewer.home, TorchPredictor):
        raise SettingsError(
            "training: nearest training cells need a model folder, whose features are known; "
            "leave it out for a module of your own"
        )
    items = list({item.image_id: item for item in reversed(items)}.values())[::-1]
    methods = tuple(dict.fromkeys(methods or default_methods(viewer.home.module)))
    for method in methods:
        if method not in METHODS:
            raise unknown("method", method, list(METHODS))
    decided = {
        "methods": list(methods),
        "layer": layer,
        "channels": channels,
        "checks": checks,
        "training": training.digest if training else None,
        "items": content_hash("\n".join(map(repr, items)).encode()),
        **viewer.decides,
        **(settings or {}),
    }
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    asked = (*methods, MIDDLE) if checks else methods
    jobs = [(item, method) for item in items for method in asked]
    key = content_hash(repr(decided).encode())
    rows = _explained(viewer, jobs, root, work, layer, channels, checks, key)
    _warn_of_problems(root, jobs, rows)
    with artifacts.writing(out, "explanation", settings=decided, inputs=inputs) as folder:
        _write(folder, root, jobs, rows, masks or {})
        if training is not None:
            shown = {
                item: (_image_of(root, item, row), viewer.away if row["image"] else viewer.home)
                for (item, _), row in zip(jobs, rows, strict=True)
                if row["problem"] is None
            }
            write_neighbours(folder, shown, training, work, key)
    shutil.rmtree(work, ignore_errors=True)
    return out


def explain_evaluation(
    model: str | Path,
    evaluation: str | Path,
    root: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] | None = None,
    per_class: int = 1,
    mistakes: int = 8,
    seed: int = 0,
    work: str | Path | None = None,
    inputs: Mapping[str, str] | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
    training: Training | None = None,
) -> Path:
    """Explain a right prediction of each class and the worst mistakes of an evaluation.

    ``model`` and ``evaluation`` are folders; see `naturalize.explain.picks.pick_for_explanation`
    for ``per_class``, ``mistakes`` and ``seed``, and `explain_images` for the rest.
    """
    from naturalize.models.predictor import Predictor

    if per_class < 0 or mistakes < 0:
        raise SettingsError("per_class and mistakes: expected 0 or more")
    artifacts.read_manifest(evaluation, "evaluation")
    predictions = artifacts.read_table(Path(evaluation) / "predictions.parquet")
    rows = pick_for_explanation(predictions, per_class, mistakes, seed)
    names = list(Pick.__dataclass_fields__)
    return explain_images(
        Predictor.load(model),
        [Pick(**row) for row in rows.select(names).to_pylist()],
        root,
        out,
        methods=methods,
        work=work,
        inputs=inputs,
        masks=masks,
        training=training,
        settings={"per_class": per_class, "mistakes": mistakes, "seed": seed},
    )


def _explained(
    viewer: Viewer,
    jobs: Sequence[tuple[Pick, str]],
    root: Path,
    work: Path,
    layer: str | None,
    channels: float | None,
    checks: bool,
    key: str,
) -> list[dict[str, Any]]:
    """Rows of `_SHARD`, one a job; each finished job is kept."""

    def rows(piece: Sequence[tuple[Pick, str]]) -> Iterator[dict[str, Any]]:
        for item, method in piece:
            try:
                image = read_image(root / item.path)
            except ImageReadError as error:
                yield {"problem": error.reason}
                continue
            shown = viewer(item, image)
            if method == MIDDLE:
                heat = middle(len(image))
            else:
                (heat,) = explain(
                    shown.network,
                    [shown.image],
                    method,
                    [shown.predicted],
                    layer=layer,
                    channels=channels,
                )
            row: dict[str, Any] = {
                "predicted": shown.predicted,
                "confidence": shown.confidence,
                "size": len(heat),
                "map": heat.astype("<f4").tobytes() if method != MIDDLE else b"",
                "image": encode_image(shown.image, "png") if shown.standardised else None,
            }
            if checks:
                insertion, deletion = insertion_and_deletion(shown.share, shown.image, heat)
                row |= {"insertion": insertion, "deletion": deletion}
            yield row

    table = resumable_rows(work, key, jobs, rows, _SHARD, piece=1, what="explain")
    return table.to_pylist()


def _image_of(root: Path, item: Pick, row: Mapping[str, Any]) -> np.ndarray:
    """Return the image that was explained: the standardised one, or the file's."""
    if row["image"] is not None:
        return decode_image(row["image"])[0]
    return read_image(root / item.path)


def _warn_of_problems(
    root: Path, jobs: Sequence[tuple[Pick, str]], rows: list[dict[str, Any]]
) -> None:
    problems = {
        item.path: row["problem"]
        for (item, _), row in zip(jobs, rows, strict=True)
        if row["problem"] is not None
    }
    for path, reason in problems.items():
        warn(f"{path}: {reason}; not explained")
    if all(row["problem"] is not None for row in rows):
        raise InputError(f"{root}: none of the {len(problems)} images to explain can be read")


def _write(
    folder: Path,
    root: Path,
    jobs: Sequence[tuple[Pick, str]],
    rows: list[dict[str, Any]],
    masks: Mapping[str, np.ndarray],
) -> None:
    entries: list[dict[str, Any]] = []
    maps: dict[str, np.ndarray] = {}
    sheet: dict[str, list[np.ndarray]] = {}
    drawn = defaultdict(list)
    where = Heat(masks)
    for (item, method), row in zip(jobs, rows, strict=True):
        if row["problem"] is not None:
            continue
        if row["insertion"] is not None:
            drawn[method].append((row["insertion"], row["deletion"]))
        if method == MIDDLE:
            continue
        image = _image_of(root, item, row)
        heat = np.frombuffer(row["map"], "<f4").reshape(row["size"], row["size"])
        name = f"{item.image_id}-{method}"
        painted = overlay(image, heat)
        write_image(folder / "overlays" / f"{name}.jpg", painted, quality=92)
        original = f"images/{item.image_id}.jpg"
        if not (folder / original).exists():
            write_image(folder / original, image, quality=92)
        maps[name] = heat
        said = {"predicted": row["predicted"], "confidence": row["confidence"]}
        said |= {"method": method, "overlay": f"{name}.jpg", "image": original}
        said["standardised"] = row["image"] is not None
        for curve in ("insertion", "deletion"):
            if row[curve] is not None:
                said[f"{curve}_auc"] = round(area_under(row[curve]), 4)
        entries.append(asdict(item) | said | where.of(item.image_id, image, heat))
        if len(sheet) < ON_SHEET or item.path in sheet:
            sheet.setdefault(item.path, [image]).append(painted)
    artifacts.write_json(folder / "explanations.json", entries)
    artifacts.write_json(
        folder / "checks.json",
        {"fractions": FRACTIONS, "methods": of_methods(drawn), "classes": of_classes(entries)},
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **maps)
    artifacts.write_bytes(folder / "maps.npz", buffer.getvalue())
    write_image(folder / "sheet.jpg", explained_sheet(entries, sheet), quality=90)
