"""The remedy for a torchvision whose compiled part cannot load, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )


def test_torchvision_and_timm_import_after_ensure():
    done = run(
        "from naturalize.models.torchvision_compat import ensure\n"
        "first, second = ensure(), ensure()\n"
        "assert first == second\n"
        "import torchvision, timm\n"
        "from torchvision.transforms.v2 import functional\n"
        "assert timm.is_model('resnet18')\n"
        "assert ensure() == first\n"
        "print('ok')"
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_nothing_is_declared_where_the_extension_loads():
    done = run(
        "import torch\n"
        "from naturalize.models import torchvision_compat as room\n"
        "room._extension_loads = lambda folder: True\n"
        "assert room.ensure() is False\n"
        "assert not hasattr(torch.ops.torchvision, 'qnms')\n"
        "print('ok')"
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_nothing_happens_without_torchvision():
    done = run(
        "import importlib.util, sys\n"
        "from naturalize.models import torchvision_compat as room\n"
        "room.importlib.util.find_spec = lambda name: None\n"
        "assert room.ensure() is False\n"
        "assert 'torch' not in sys.modules\n"
        "print('ok')"
    )
    assert done.stdout.strip() == "ok", done.stderr
