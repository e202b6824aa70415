"""``naturalize init``: a folder of images to a study file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite, Reader, Workers


def init(
    images: Annotated[
        Path | None,
        typer.Argument(help="Folder of images, CSV table or MedMNIST .npz file."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Study file to write.")] = Path(
        "study.yaml"
    ),
    scheme: Annotated[
        str | None,
        typer.Option(help="Classes: pbc11, pbc8, or folders.  [default: by the file names]"),
    ] = None,
    reader: Reader = "auto",
    preset: Annotated[
        str | None,
        typer.Option(help="Write this study of the package instead: pbc11, model-pbc11, demo."),
    ] = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a study file that suits a folder of images, ready for `naturalize run`.

    Reads every image once, and sizes split, composites, image size and epochs to what it finds. The
    file says how long the study takes on this machine; every key can be changed.

    **Examples**

    ```
    naturalize init images
    naturalize init cells.csv -o runs/mine.yaml
    naturalize init --preset pbc11 -o mine.yaml
    ```
    """
    from naturalize.base.artifacts import check_file, write_bytes
    from naturalize.base.console import result, warn
    from naturalize.base.errors import InputError
    from naturalize.study.settings import preset as preset_text

    check_file(out)
    if (images is None) == (preset is None):
        raise InputError("name a folder of images, or a study of the package with --preset")
    if preset is not None:
        write_bytes(out, preset_text(preset).encode())
    else:
        from naturalize.study.proposal import propose

        assert images is not None
        found = propose(images, scheme=scheme, reader=reader, workers=workers)
        write_bytes(out, found.text.encode())
        for remark in found.remarks:
            warn(remark)
        result(found.found)
        result(found.estimate)
    result(f"study: {out}")
