"""A section of the report as plain values: what a template lays out, nothing it must work out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from naturalize.report.folder import StudyFolder
from naturalize.report.pictures import Pictures


@dataclass(frozen=True)
class Section:
    """One section: its anchor, its heading, one sentence to take away, and its values.

    ``template`` is ``None`` where the study has not made what the section shows; then the sentence
    says so and nothing follows it.
    """

    id: str
    title: str
    takeaway: str
    template: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


#: A function that reads its part of a study and gives its section.
View = Callable[[StudyFolder, Pictures], Section]
