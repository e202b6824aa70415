"""Plans on disk, and rendered: a writer is one file here and one line in the registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from naturalize.compose.deliver.coco import write_coco
from naturalize.compose.deliver.files import FORMATS, check_format, image_bytes, save_plan
from naturalize.compose.deliver.imagefolder import write_imagefolder
from naturalize.compose.deliver.webdataset import write_webdataset

#: Name → what renders a plan to disk. All take a plan, its bank and a folder, and by keyword
#: ``format``, ``quality``, ``masks``, ``size``, ``lineage``, ``work``, ``backend``, ``workers``,
#: ``also``; ``webdataset`` also ``shard_bytes``.
WRITERS: dict[str, Callable[..., Path]] = {
    "imagefolder": write_imagefolder,
    "webdataset": write_webdataset,
    "coco": write_coco,
}

__all__ = [
    "FORMATS",
    "WRITERS",
    "check_format",
    "image_bytes",
    "save_plan",
    "write_coco",
    "write_imagefolder",
    "write_webdataset",
]
