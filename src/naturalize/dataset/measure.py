"""What one image file says: its row of the catalog, from one reading and one decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.errors import ImageReadError
from naturalize.base.images import content_hash, decode_image, pixel_hash, read_bytes
from naturalize.dataset.readers.listing import Item
from naturalize.dataset.relations import perceptual_hash, thumbnail
from naturalize.imaging.slide import slide_colour

#: Columns of ``catalog.parquet``; see ``docs/formats.md``.
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("source_part", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("format", pa.string()),
        ("n_bytes", pa.int64()),
        ("encoder", pa.string()),
        ("exif_rotated", pa.bool_()),
        ("pixel_hash", pa.string()),
        ("perceptual_hash", pa.string()),
        ("background_r", pa.float32()),
        ("background_g", pa.float32()),
        ("background_b", pa.float32()),
        ("flags", pa.list_(pa.string())),
        ("duplicate_of", pa.string()),
        ("near_duplicate_of", pa.string()),
        ("problem", pa.string()),
    ]
)


def measure(item: Item, root: Path) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the catalog row of an image and its small grey picture (``None`` if unreadable)."""
    row: dict[str, Any] = {
        "image_id": "",
        "path": item.path,
        "label": item.label,
        "group": item.group,
        "source_part": item.source_part,
        "n_bytes": 0,
        "flags": [],
    }
    try:
        data = read_bytes(root / item.path)
    except ImageReadError as error:
        row |= {"image_id": content_hash(b""), "problem": error.reason, "flags": ["unreadable"]}
        return row, None
    row |= {"image_id": content_hash(data), "n_bytes": len(data)}
    try:
        image, facts = decode_image(data, name=item.path)
    except ImageReadError as error:
        row |= {"problem": error.reason, "flags": ["unreadable"]}
        return row, None
    small = thumbnail(image)
    red, green, blue = slide_colour(image)
    row |= {
        "width": facts.width,
        "height": facts.height,
        "mode": facts.mode,
        "format": facts.format,
        "encoder": facts.encoder,
        "exif_rotated": facts.exif_rotated,
        "pixel_hash": pixel_hash(image),
        "perceptual_hash": perceptual_hash(small),
        "background_r": red,
        "background_g": green,
        "background_b": blue,
        "flags": facts.flags,
    }
    return row, small
