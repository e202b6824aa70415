"""CBAM: a network that learns which channels and which places of its maps to heed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naturalize.models.torchvision_compat import ensure

if TYPE_CHECKING:
    from torch import nn


def attention(channels: int, *, reduction: int = 16) -> nn.Module:
    r"""Return a convolutional block attention module (Woo et al., ECCV 2018, eq. 1–3).

    Maps :math:`F`, (N, C, H, W), become :math:`F' = M_c(F) \otimes F` and then
    :math:`F'' = M_s(F') \otimes F'`, with
    :math:`M_c = \sigma(MLP(AvgPool(F)) + MLP(MaxPool(F)))`, one number a channel, and
    :math:`M_s = \sigma(BN(f^{7 \times 7}[AvgPool(F'); MaxPool(F')]))`, one a place. The batch norm
    is that of the authors' code. The module is timm's.

    Parameters
    ----------
    channels
        Channels of the maps.
    reduction
        The MLP's hidden layer has ``channels / reduction`` units, at least one.
    """
    ensure()
    from timm.layers.cbam import CbamModule

    return CbamModule(channels, rd_ratio=1 / reduction)
