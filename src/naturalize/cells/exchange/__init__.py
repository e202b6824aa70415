"""Cells in and out: other segmenters' masks become a bank, a bank becomes what others read.

A format is one or two files here and a line in the registries of ``doors``.
"""

from __future__ import annotations

from naturalize.cells.exchange.doors import (
    EXPORTS,
    IMPORTS,
    export,
    import_bank,
    import_cells,
    knows_classes,
)

__all__ = ["EXPORTS", "IMPORTS", "export", "import_bank", "import_cells", "knows_classes"]
