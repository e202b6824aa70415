"""The one import of Lightning: after the remedy for torchvision, which Lightning imports too."""

from __future__ import annotations

from naturalize.models.torchvision_compat import ensure

ensure()

import lightning.pytorch as pl  # noqa: E402

__all__ = ["pl"]
