"""Cells in and out: what other tools annotated becomes a bank, a bank becomes what others read.

A format is one file here and a line in the registries of ``formats``.
"""

from __future__ import annotations

from naturalize.cells.exchange.formats import (
    EXPORTS,
    ImportSettings,
    export,
    import_bank,
    import_cells,
    import_source,
)

__all__ = [
    "EXPORTS",
    "ImportSettings",
    "export",
    "import_bank",
    "import_cells",
    "import_source",
]
