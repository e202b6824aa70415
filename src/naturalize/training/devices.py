"""One key says where a run is computed: a processor, one GPU, several, or several processes.

========== =====================================================
``auto``    the first GPU (CUDA or Apple's), else the processor
``cpu``     the processor
``cpu:2``   two processes on the processor
``cuda``    the first GPU
``cuda:1``  the GPU with that number
``cuda:0,1`` these GPUs, one process each
``cuda:all`` all GPUs, one process each
``mps``     Apple's GPU
========== =====================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from naturalize.base.errors import SettingsError, closest

_FORM = re.compile(r"auto|mps|cpu(:[1-9]\d*)?|cuda(:(all|\d+(,\d+)*))?")

_EXAMPLES = "auto, cpu, cpu:2, cuda, cuda:1, cuda:0,1, cuda:all, mps"


@dataclass(frozen=True)
class Devices:
    """What a name of devices says: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    ``processes`` are on processors; ``gpus`` are numbers, empty for all there are.
    """

    kind: str
    processes: int = 1
    gpus: tuple[int, ...] = (0,)

    @property
    def known_processes(self) -> int:
        """How many processes there are, as far as the name alone says."""
        return max(self.processes, len(self.gpus) or 1)


def parse(name: str) -> Devices:
    """Read the name of a device; ``ValueError`` for any other form."""
    if not _FORM.fullmatch(name):
        raise ValueError(f"expected one of {_EXAMPLES}{closest(name, _EXAMPLES.split(', '))}")
    kind, _, which = name.partition(":")
    if kind == "cpu":
        return Devices(kind, processes=int(which or 1))
    if kind == "cuda" and which == "all":
        return Devices(kind, gpus=())
    numbers = tuple(dict.fromkeys(int(n) for n in which.split(","))) if which else (0,)
    return Devices(kind, gpus=numbers)


@dataclass(frozen=True)
class Place:
    """Where this machine computes a run: a device for each process, as torch names it."""

    devices: tuple[str, ...]

    @property
    def device(self) -> str:
        """The first device."""
        return self.devices[0]

    @property
    def gpu(self) -> bool:
        """Whether it is a GPU of CUDA."""
        return self.device.startswith("cuda")


def place(name: str) -> Place:
    """Return where a run on device ``name`` is computed; ``SettingsError`` if it is not there."""
    import torch

    asked = parse(name)
    if asked.kind == "cuda" or (asked.kind == "auto" and torch.cuda.is_available()):
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        numbers = asked.gpus or tuple(range(there))
        if not there or max(numbers) >= there:
            raise SettingsError(
                f"device {name}: this machine, or its PyTorch, has {there or 'no'} "
                f"GPU{'s' if there > 1 else ''} of CUDA; try auto or cpu"
            )
        return Place(tuple(f"cuda:{number}" for number in numbers))
    apple = torch.backends.mps.is_available()
    if asked.kind == "mps" and not apple:
        raise SettingsError(f"device {name}: this machine, or its PyTorch, has none; try cpu")
    if asked.kind == "mps" or (asked.kind == "auto" and apple):
        return Place(("mps",))
    return Place(("cpu",) * asked.processes)
