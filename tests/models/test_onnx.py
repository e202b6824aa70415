"""A model's graph: the same answers without PyTorch, and what goes wrong is said."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_networks import SMALL

from naturalize.base.artifacts import read_json, read_manifest, write_json
from naturalize.base.errors import ArtifactError, MissingExtraError, SettingsError
from naturalize.base.images import write_image
from naturalize.models.ensemble import has_graph, save_ensemble
from naturalize.models.folder import GRAPH, save_model
from naturalize.models.names import names
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.models.predictor import Predictor
from naturalize.prediction.files import predict_files

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

CLASSES = ("A", "B", "C")


def images(n: int = 3, side: int = 70) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, 256, (side, side + 3, 3), dtype=np.uint8) for _ in range(n)]


def saved(path, name, classes=CLASSES, *, size=None, options=None, half=False, seed=1, **changes):
    """Write a network with statistics and opinions of its own, as if it had been trained."""
    from naturalize.models.zoo import build

    torch.manual_seed(seed)
    own, side = SMALL.get(name, ({}, 64))
    made = build(name, classes, weights="none", input_size=size or side, options=options or own)
    with torch.no_grad():
        for module in made.module.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.7, 1.4)
                module.weight.uniform_(0.8, 1.2)
                module.bias.uniform_(-0.1, 0.1)
    return save_model(path, made.module, replace(made.config, **changes), half=half)


def exported(*args, **kwargs):
    from naturalize.models.export import export_model

    path = saved(*args, **kwargs)
    export_model(path)
    return path


#: A command, where the libraries that networks are trained with are not installed.
WITHOUT_PYTORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "torchvision", "timm", "safetensors", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from naturalize.cli.app import run_app
run_app(sys.argv[1:])
"""


def run_without_pytorch(words, folder):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("m") / "model", "custom_cnn", temperature=0.5)


def both(path, batch=2):
    """What both engines say of the same images."""
    torch_, onnx_ = (Predictor.load(path, engine=engine) for engine in ("torch", "onnx"))
    assert torch_.classes == onnx_.classes
    assert torch_.config == onnx_.config
    return torch_.probabilities(images(), batch=batch), onnx_.probabilities(images(), batch=batch)


@pytest.mark.parametrize("name", [*names(), "cbam:custom_cnn+mobilenetv2_100"])
def test_each_network_answers_as_with_pytorch(name, tmp_path):
    path = exported(tmp_path / "model", name, crop=0.8, balanced=True, temperature=0.7)
    expected, found = both(path)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    weights, graph = ((path / n).stat().st_size for n in ("weights.safetensors", GRAPH))
    assert graph < max(100_000, weights / 10)
    kept = [t for t in onnx.load(path / GRAPH, load_external_data=False).graph.initializer
            if t.data_location != onnx.TensorProto.EXTERNAL]  # fmt: skip
    assert sum(len(t.raw_data) for t in kept) < 20_000


@pytest.mark.parametrize("number", [1.0, 1e9])
def test_halved_weights_answer_as_with_pytorch(number, tmp_path):
    """Numbers beyond float16 stay float32 in the file; both sorts are read."""
    path = saved(tmp_path / "float", "custom_cnn")
    from naturalize.models.export import export_model
    from naturalize.models.load import load_model

    module, config = load_model(path)
    module.blocks[0][1].running_var[1] = number
    half = save_model(tmp_path / "half", module, config, half=True)
    export_model(half)
    expected, found = both(half)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_averaging_ensemble_asks_each_members_own_graph(tmp_path):
    members = [
        saved(tmp_path / "a", "custom_cnn", size=32),
        saved(tmp_path / "b", "custom_cnn", ("C", "A", "B"), size=48, crop=0.7, seed=2),
    ]
    whole = save_ensemble(tmp_path / "whole", members, weights=[1, 2])
    assert not has_graph(whole)
    from naturalize.models.export import export_model

    made = export_model(whole)
    assert len(made.graphs) == 2
    assert has_graph(whole)
    assert isinstance(Predictor.load(whole), OnnxPredictor)
    expected, found = both(whole)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_both_engines_name_the_weights_alike(model, tmp_path):
    half = exported(tmp_path / "half", "custom_cnn_cbam", half=True)
    pair = save_ensemble(tmp_path / "pair", [model, half])
    assert has_graph(pair)
    found = {}
    for path in (model, half, pair):
        found[path] = Predictor.load(path, engine="onnx").weights_hash
        assert found[path] == Predictor.load(path, engine="torch").weights_hash
    assert len(set(found.values())) == 3


def test_a_row_depends_on_its_image_alone(model):
    predictor = Predictor.load(model)
    many = images(9)
    rows = predictor.probabilities(many, batch=1)
    np.testing.assert_array_equal(predictor.probabilities(many, batch=7), rows)
    np.testing.assert_array_equal(predictor.probabilities(many[::-1])[::-1], rows)
    np.testing.assert_array_equal([predictor.row(image) for image in many], rows)
    assert predictor.probabilities([]).shape == (0, 3)


def test_files_get_the_same_rows_whatever_is_under_way(model, tmp_path):
    paths = []
    for i, image in enumerate(images(7)):
        paths.append(tmp_path / f"{i}.png")
        write_image(paths[-1], image)
    (tmp_path / "bad.png").write_bytes(b"no image")
    paths.insert(3, tmp_path / "bad.png")
    predictor = Predictor.load(model)
    rows = list(predict_files(predictor, paths, batch=1))
    assert [row.path for row in rows] == paths
    assert rows[3].flag == "error: not an image that can be read"
    for batch in (3, 64):
        for one, other in zip(rows, predict_files(predictor, paths, batch=batch), strict=True):
            np.testing.assert_array_equal(one.probabilities, other.probabilities)
    slow = list(predict_files(Predictor.load(model, engine="torch"), paths, batch=3))
    for one, other in zip(rows, slow, strict=True):
        assert (one.label, one.error, one.flags) == (other.label, other.error, other.flags)
        if not one.error:
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_the_manifest_is_renewed_and_the_rest_of_the_folder_stays(tmp_path):
    from naturalize.models.export import export_model

    path = saved(tmp_path / "model", "custom_cnn")
    (path / "notes.txt").write_text("mine")
    before, kept = read_manifest(path), (path / "weights.safetensors").read_bytes()
    copy = export_model(path, tmp_path / "copy")
    assert not has_graph(path)
    assert has_graph(copy.path)
    assert copy.graphs == (tmp_path / "copy" / GRAPH,)
    first = export_model(path).graphs[0].read_bytes()
    after = read_manifest(path)
    assert (after.fingerprint, after.settings) == (before.fingerprint, before.settings)
    assert set(after.files) == {*before.files, GRAPH, "notes.txt"}
    assert (path / "weights.safetensors").read_bytes() == kept
    export_model(path)
    assert (path / GRAPH).read_bytes() == first == copy.graphs[0].read_bytes()
    assert str(tmp_path).encode() not in first
    assert b".py" not in first
    with pytest.raises(SettingsError, match="lies in the model folder"):
        export_model(path, path / "inside")


def test_auto_takes_pytorch_where_there_is_no_graph(model, tmp_path):
    from naturalize.models.torch_predictor import TorchPredictor

    plain = saved(tmp_path / "plain", "custom_cnn")
    assert isinstance(Predictor.load(plain), TorchPredictor)
    assert isinstance(Predictor.load(model), OnnxPredictor)
    lost = shutil.copytree(model, tmp_path / "lost")
    (lost / GRAPH).unlink()
    assert isinstance(Predictor.load(lost), TorchPredictor)
    strange = shutil.copytree(plain, tmp_path / "strange")
    shutil.copy(model / GRAPH, strange / GRAPH)
    assert isinstance(Predictor.load(strange), TorchPredictor)
    with pytest.raises(ArtifactError, match=r"has no network\.onnx.*naturalize export"):
        Predictor.load(strange, engine="onnx")
    with pytest.raises(ArtifactError, match=r"network\.onnx: no such file; .*naturalize export"):
        Predictor.load(lost, engine="onnx")
    with pytest.raises(SettingsError, match=r"unknown engine 'tensorrt'.*auto, onnx, torch"):
        Predictor.load(model, engine="tensorrt")
    with pytest.raises(SettingsError, match="runs on the processor only, not on cuda"):
        Predictor.load(model, engine="onnx", device="cuda")


def renewed(path):
    """Make a manifest say that everything in the folder is as it should be."""
    from naturalize.base.artifacts import file_hash

    raw = read_json(path / "artifact.json")
    raw["files"] = {name: file_hash(path / name) for name in raw["files"]}
    write_json(path / "artifact.json", raw)


def test_a_damaged_graph_is_refused(model, tmp_path):
    path = shutil.copytree(model, tmp_path / "bad")
    data = bytearray((path / GRAPH).read_bytes())
    data[len(data) // 2] ^= 255
    (path / GRAPH).write_bytes(data)
    with pytest.raises(ArtifactError, match=r"network\.onnx: damaged graph.*naturalize export"):
        Predictor.load(path)
    (path / GRAPH).write_bytes(b"nothing")
    renewed(path)
    with pytest.raises(ArtifactError, match=r"network\.onnx: cannot be opened"):
        Predictor.load(path)


def test_damaged_weights_are_refused(model, tmp_path):
    path = shutil.copytree(model, tmp_path / "bad")
    data = bytearray((path / "weights.safetensors").read_bytes())
    data[-5] ^= 255
    (path / "weights.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: damaged weights"):
        Predictor.load(path)


def test_the_graph_of_other_weights_is_refused(model, tmp_path):
    other = exported(tmp_path / "other", "custom_cnn", seed=9)
    shutil.copy(model / GRAPH, other / GRAPH)
    with pytest.raises(ArtifactError, match="damaged graph"):
        Predictor.load(other)
    renewed(other)
    with pytest.raises(ArtifactError, match=r"network\.onnx: belongs to other weights"):
        Predictor.load(other)


def test_the_graph_of_another_network_is_refused(model, tmp_path):
    path = shutil.copytree(model, tmp_path / "bad")
    described = read_json(path / "model.json")
    write_json(path / "model.json", {**described, "input_size": 48})
    with pytest.raises(ArtifactError, match=r"network\.onnx: does not fit .*model\.json"):
        Predictor.load(path)


def test_a_graph_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    from naturalize.models import export

    path = saved(tmp_path / "model", "custom_cnn")
    manifest = (path / "artifact.json").read_bytes()
    monkeypatch.setattr(export, "MOST_APART", -1.0)
    with pytest.raises(ArtifactError, match="differ from PyTorch's by up to"):
        export.export_model(path)
    assert not (path / GRAPH).exists()
    assert (path / "artifact.json").read_bytes() == manifest
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_export_needs_is_named(tmp_path, monkeypatch):
    from naturalize.models.export import export_model

    path = saved(tmp_path / "model", "custom_cnn")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"naturalize\[export\]"):
        export_model(path)


def test_the_commands_export_and_predict(tmp_path, capfd):
    from naturalize.cli.app import run_app

    path = saved(tmp_path / "model", "custom_cnn")
    with pytest.raises(SystemExit, match="0"):
        run_app(["export", str(path)])
    said = "".join(capfd.readouterr())
    assert "network.onnx" in said
    assert "largest difference" in said
    write_image(tmp_path / "a.png", images(1)[0])
    tables = {}
    for engine in ("auto", "onnx", "torch"):
        out = tmp_path / f"{engine}.csv"
        asked = ["predict", str(tmp_path / "a.png"), "-m", str(path), "-o", str(out)]
        with pytest.raises(SystemExit, match="0"):
            run_app([*asked, "--engine", engine])
        tables[engine] = list(csv.DictReader(out.open()))
    assert tables["auto"] == tables["onnx"]
    for c in CLASSES:
        one, other = (float(tables[e][0][f"prob_{c}"]) for e in ("onnx", "torch"))
        assert one == pytest.approx(other, abs=2e-6)


def test_an_evaluation_is_the_same_without_pytorch(tmp_path, phantom_root):
    from naturalize.evaluation.evaluate import read_metrics
    from naturalize.evaluation.predictions import read_predictions

    labels = sorted(p.name for p in (phantom_root / "images").iterdir())[:2]
    for label in labels:
        shutil.copytree(phantom_root / "images" / label, tmp_path / "images" / label)
    exported(tmp_path / "model", "custom_cnn", labels)
    plain = saved(tmp_path / "plain", "custom_cnn", labels)
    run_without_pytorch(
        ["evaluate", "model", "images", "-o", "light", "--engine", "serial"], tmp_path
    )
    from naturalize.cli.app import run_app

    with pytest.raises(SystemExit, match="0"):
        run_app(["evaluate", str(plain), str(tmp_path / "images"), "-o", str(tmp_path / "heavy")])
    light, heavy = (read_metrics(tmp_path / name) for name in ("light", "heavy"))
    for name in ("model_hash", "confusion", "macro_f1", "prepared", "n"):
        assert light[name] == heavy[name]
    rows = [read_predictions(tmp_path / name) for name in ("light", "heavy")]
    for column in ("prob_" + label for label in labels):
        np.testing.assert_allclose(*(table[column].to_numpy() for table in rows), atol=1e-5)


def test_predicting_imports_no_training_library(model, tmp_path):
    write_image(tmp_path / "a.png", images(1)[0])
    run_without_pytorch(["predict", "a.png", "-m", str(model), "-o", "p.csv"], tmp_path)
    (row,) = csv.DictReader((tmp_path / "p.csv").open())
    assert row["label"] in CLASSES
