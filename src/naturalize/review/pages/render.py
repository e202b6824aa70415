"""Pages from templates, and the address of the files that they load."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from naturalize.dataset.schemes import NO_LEUKOCYTES

#: Styles and scripts that the pages load.
STATIC_FOLDER = Path(__file__).parent / "static"


@cache
def static_address() -> str:
    """Return the address below which the files of `STATIC_FOLDER` are served.

    A digest of the files is part of it: scripts load each other by relative addresses, so that all
    are of one version, and a browser may keep them for good.
    """
    digest = hashlib.sha256()
    for path in sorted(STATIC_FOLDER.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"/static/{digest.hexdigest()[:12]}"


@cache
def environment() -> Environment:
    """Return the environment of the templates: everything in HTML is escaped."""
    found = Environment(
        loader=PackageLoader("naturalize.review.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["no_leukocytes"] = sorted(NO_LEUKOCYTES)
    found.globals["static"] = lambda name: f"{static_address()}/{name}"
    return found


def page(name: str, /, *, session: dict[str, Any] | None, **context: Any) -> str:
    """Return the page ``name`` as HTML.

    ``session`` is the answer of ``/api/v1/session``, or None before anybody has logged in.
    """
    return (
        environment().get_template(f"{name}.html.j2").render(page=name, session=session, **context)
    )
