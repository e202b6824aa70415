"""The cell bank: which cells may be composed, and their pixels."""

from __future__ import annotations

from naturalize.cells.bank.core import CellBank
from naturalize.cells.bank.files import Cutout

__all__ = ["CellBank", "Cutout"]
