"""Building this project's own small networks."""

from __future__ import annotations

from typing import Any

from naturalize.base.errors import ArtifactError, SettingsError, closest
from naturalize.models import weights as sources
from naturalize.models.config import Network, NetworkConfig, Wanted

#: Side of the input in pixels, unless another is asked for.
SIZE = 128
_SMALLEST = 16


def build_own(wanted: Wanted) -> Network:
    """Build the custom CNN, plain or with CBAM; option ``channels``: of each block."""
    from naturalize.models.custom_cnn import CustomCNN

    name = wanted.name
    if wanted.weights in ("imagenet", "download"):
        raise SettingsError(f"{name} is trained from scratch: there are no ImageNet weights for it")
    size = wanted.input_size or SIZE
    if size < _SMALLEST:
        raise SettingsError(f"input_size: {name} needs {_SMALLEST} pixels or more, got {size}")
    options = _options(wanted)
    if wanted.dropout is not None:
        options["drop_rate"] = wanted.dropout
    module = CustomCNN(len(wanted.classes), cbam=name.endswith("_cbam"), **options)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std, source = mean, "scratch"
    if wanted.weights not in ("auto", "none"):
        found = sources.find(name, wanted.weights)
        assert found is not None
        load_all_but_head(module, found, "classifier", name)
        source, mean, std = found.source, found.mean or mean, found.std or std
    config = NetworkConfig(name, wanted.classes, size, mean, std, source, options=wanted.options)
    return Network(module, config)


def _options(wanted: Wanted) -> dict[str, Any]:
    check_options(wanted, ["channels"])
    channels = wanted.options.get("channels", [32, 64, 128, 256])
    whole = isinstance(channels, list) and all(type(c) is int and c > 0 for c in channels)
    if not whole or not 1 <= len(channels) <= 4:
        raise SettingsError(
            f"network_options: channels of {wanted.name}: expected one to four whole numbers, "
            f"got {channels!r}"
        )
    return {"channels": channels}


def check_options(wanted: Wanted, known: list[str]) -> None:
    """Raise ``SettingsError`` for an option that is not among ``known``."""
    for key in wanted.options:
        if key not in known:
            raise SettingsError(
                f"network_options: {wanted.name} has no option {key!r}{closest(key, known)}; "
                f"choose from: {', '.join(known)}"
            )


def load_all_but_head(module: Any, found: sources.Weights, head: str, name: str) -> None:
    """Load a state dict, but for a classifier (called ``head``) of another size.

    Raises
    ------
    ArtifactError
        If any other tensor is missing, unknown or of another shape.
    """
    own = module.state_dict()
    state = {
        k: v
        for k, v in found.state.items()
        if not (k.startswith(f"{head}.") and k in own and own[k].shape != v.shape)
    }
    dropped = {k for k in own if k.startswith(f"{head}.") and k not in state}
    wrong = [
        k for k in own if k not in dropped and (k not in state or state[k].shape != own[k].shape)
    ]
    if wrong or set(state) - set(own):
        first = (wrong or sorted(set(state) - set(own)))[0]
        raise ArtifactError(
            f"{found.source.removeprefix('file:')}: no weights of {name} (see tensor {first!r})"
        )
    module.load_state_dict(state, strict=False)
