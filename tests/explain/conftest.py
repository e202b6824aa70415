"""torch-cam and timm import torchvision, which needs help where its extension cannot load."""

from naturalize.models.torchvision_compat import ensure

ensure()
