"""Training from end to end on toy images: it learns, resumes, repeats, and refuses nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy import TINY, fit

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError, SettingsError
from naturalize.base.images import read_image
from naturalize.base.shards import locked
from naturalize.models.folder import describe
from naturalize.models.predictor import Predictor
from naturalize.training.settings import AugmentSettings, TrainSettings

torch = pytest.importorskip("torch")


def weights(path: Path) -> bytes:
    return (path / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(toys, tmp_path_factory):
    return fit(toys, tmp_path_factory.mktemp("trained") / "model")


def test_it_learns_and_predicts_unseen_images(toys, trained):
    catalog, split, _ = toys
    predictor = Predictor.load(trained)
    rows = split.table.filter(np.array(split.table["part"].to_pylist()) == "test").to_pylist()
    said = predictor.probabilities(catalog.read(row["image_id"]) for row in rows).argmax(1)
    right = [predictor.classes[i] == row["label"] for i, row in zip(said, rows, strict=True)]
    assert len(right) == 12
    assert np.mean(right) >= 0.75  # chance is 1/3


def test_the_model_folder_tells_how_it_was_trained(toys, trained):
    catalog, split, _ = toys
    about = describe(trained)
    assert about["classes"] == ["blue", "green", "red"]
    assert about["training"]["n_real"] == 36
    assert about["training"]["n_composites"] == 0
    assert about["training"]["counts"] == {"blue": 12, "green": 12, "red": 12}
    assert about["training"]["samples_per_epoch"] == 72
    assert about["metrics"]["n"] == 12
    manifest = read_manifest(trained, "model")
    assert manifest.inputs == {"catalog": catalog.fingerprint, "split": split.fingerprint}
    assert manifest.settings["lr"] == 3e-3
    history = (trained / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,lr,train_loss,val_loss,val_accuracy,val_macro_f1"
    assert len(history) == 4
    best = history[about["training"]["best_epoch"]].split(",")
    assert float(best[-1]) == about["metrics"]["macro_f1"]
    assert float(best[-1]) == max(float(line.split(",")[-1]) for line in history[1:])
    assert (trained / "history.svg").read_text().lstrip().startswith("<?xml")


def test_nothing_but_the_model_is_left(trained):
    assert [p.name for p in trained.parent.iterdir()] == ["model"]


def test_validation_scores_are_the_predictors(toys, trained):
    from sklearn.metrics import f1_score

    catalog, split, _ = toys
    predictor = Predictor.load(trained)
    label_of = dict(
        zip(split.table["image_id"].to_pylist(), split.table["label"].to_pylist(), strict=True)
    )
    ids = split.ids("val")
    said = predictor.probabilities(catalog.read(i) for i in ids).argmax(1)
    true = [predictor.classes.index(label_of[i]) for i in ids]
    expected = f1_score(true, said, average="macro", labels=[0, 1, 2], zero_division=0)
    assert describe(trained)["metrics"]["macro_f1"] == pytest.approx(expected)


def test_two_loader_processes_change_no_bit(toys, trained, tmp_path):
    again = fit(toys, tmp_path / "model", TINY.model_copy(update={"workers": 2}))
    assert weights(again) == weights(trained)
    assert (again / "history.csv").read_bytes() == (trained / "history.csv").read_bytes()
    assert (again / "artifact.json").read_bytes() == (trained / "artifact.json").read_bytes()


def test_training_for_other_microscopes_repeats_and_fits_a_second_temperature(
    toys, tmp_path, capsys
):
    settings = TINY.model_copy(update={"augment": AugmentSettings(microscopes=0.5), "epochs": 1})
    made = [fit(toys, tmp_path / name, settings) for name in "ab"]
    assert weights(made[0]) == weights(made[1])
    assert weights(made[0]) != weights(
        fit(toys, tmp_path / "c", TINY.model_copy(update={"epochs": 1}))
    )
    assert describe(made[0])["temperature_elsewhere"] == 1.0  # too few images to fit it
    assert describe(tmp_path / "c")["temperature_elsewhere"] is None
    assert "without a cell bank" in capsys.readouterr().err.replace("\n", " ")


def test_the_last_epoch_is_kept_if_asked(toys, tmp_path):
    path = fit(toys, tmp_path / "model", TINY.model_copy(update={"keep": "last", "lr": 0.03}))
    about = describe(path)
    assert about["training"]["best_epoch"] == about["training"]["epochs_run"] == 3
    last = (path / "history.csv").read_text().splitlines()[-1].split(",")
    assert float(last[-1]) == about["metrics"]["macro_f1"]
    with pytest.raises(SettingsError, match="patience waits for a better epoch"):
        TrainSettings.parse({"keep": "last", "patience": 2})


def test_another_model_is_kept_for_standardised_images(toys, trained, tmp_path):
    changed = TINY.model_copy(update={"elsewhere": str(trained), "epochs": 1})
    made = fit(toys, tmp_path / "pair", changed)
    inner = Predictor.load(made, engine="torch").elsewhere
    assert weights(made / "elsewhere") == weights(trained) != weights(made)
    assert inner.weights_hash == Predictor.load(trained, engine="torch").weights_hash
    assert (
        read_manifest(made, "model").inputs["elsewhere"]
        == read_manifest(trained, "model").fingerprint
    )
    for wrong, message in ((str(made), "itself"), ("pbc11", "needs the same classes")):
        with pytest.raises(SettingsError, match=message):  # before the first step
            fit(toys, tmp_path / "no", changed.model_copy(update={"elsewhere": wrong}))
    with pytest.raises(ArtifactError, match="no such model folder"):
        fit(toys, tmp_path / "no", changed.model_copy(update={"elsewhere": "missing"}))
    assert not (tmp_path / "no").exists()


def test_another_seed_gives_another_model(toys, trained, tmp_path):
    short = TINY.model_copy(update={"seed": 1, "epochs": 1})
    assert weights(fit(toys, tmp_path / "model", short)) != weights(trained)


KILLED = """
import sys
from naturalize.inputs.training import open_data
from naturalize.training.fit import train
from naturalize.training.settings import TrainSettings
from pathlib import Path
data = open_data(catalog=Path(sys.argv[1]) / "catalog", split=Path(sys.argv[1]) / "split")
settings = TrainSettings.model_validate_json(sys.argv[2])
train(settings, data.catalog, data.split, out=sys.argv[3], work=sys.argv[4])
"""


#: More epochs than the others, and all that a state must hold.
FINE = {
    "epochs": 6,
    "head_epochs": 2,
    "ema": 0.9,
    "dropout": 0.5,
    "mixup": 0.4,
    "cutmix": 0.4,
    "patience": 5,
    "class_weights": "balanced",
}
MOVED = {"mode": "transfer", "epochs": 60, "ema": 0.9, "dropout": 0.5, "views": 2}


@pytest.mark.parametrize("change", [FINE, MOVED], ids=["finetune", "transfer"])
def test_killed_at_any_time_it_ends_with_the_same_weights(toys, trained, tmp_path, change):
    settings = TINY.model_copy(update={**change, "weights": str(trained)})
    out, work = tmp_path / "model", tmp_path / "work"
    code = [sys.executable, "-c", KILLED, str(toys[2]), settings.model_dump_json()]
    process = subprocess.Popen([*code, str(out), str(work)], stderr=subprocess.PIPE)
    limit = time.monotonic() + 200
    while not (work / "state.ckpt").is_file():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.01)
    time.sleep(0.05)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()

    fit(toys, out, settings, work=work)
    whole = fit(toys, tmp_path / "whole", settings)
    assert weights(out) == weights(whole)
    assert (out / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    assert describe(out) == describe(whole)
    assert not work.exists()


def test_the_state_of_other_settings_is_not_taken_up(toys, tmp_path, monkeypatch, capsys):
    def stop(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    work = tmp_path / "work"
    short = TINY.model_copy(update={"epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr("naturalize.models.folder.save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(toys, tmp_path / "model", short, work=work)
    assert (work / "state.ckpt").is_file()
    pixels = {path: path.stat().st_mtime_ns for path in work.glob("pixels-*")}
    assert pixels
    with monkeypatch.context() as patch:
        patch.setattr("naturalize.training.loop.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(toys, tmp_path / "model", short.model_copy(update={"seed": 1}), work=work)
    assert not (work / "state.ckpt").exists()
    assert {path: path.stat().st_mtime_ns for path in work.glob("pixels-*")} == pixels
    assert "going on after" not in capsys.readouterr().err


def test_a_second_training_into_the_same_folder_is_refused(toys, tmp_path):
    refused = pytest.raises(NaturalizeError, match=rf"process {os.getpid()} on .* is at work")
    with locked(tmp_path / ".model.work"), refused:
        fit(toys, tmp_path / "model")
    assert fit(toys, tmp_path / "model", TINY.model_copy(update={"epochs": 1})).is_dir()
    assert not (tmp_path / ".model.work").exists()


def test_a_users_files_in_the_work_folder_stay(toys, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    fit(toys, tmp_path / "model", TINY.model_copy(update={"epochs": 1}), work=tmp_path / "work")
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["thesis.txt"]


def test_a_loss_that_is_no_number_stops_with_step_and_images(toys, tmp_path):
    mad = TINY.model_copy(update={"lr": 1e30, "warmup_epochs": 0.0, "clip_norm": None})
    with pytest.raises(NaturalizeError, match=r"step \d+: the loss is (nan|inf)") as caught:
        fit(toys, tmp_path / "model", mad)
    named = str(caught.value).rsplit(": ", 1)[1].split(", ")
    assert len(named) == TINY.batch_size
    assert set(named) <= set(toys[1].ids("train"))
    assert not (tmp_path / "model").exists()


def drawn_labels(toys, tmp_path, monkeypatch, **change):
    """Train an epoch on toys with 2 green and 12 red and blue images; return the labels drawn."""
    from dataclasses import replace

    from naturalize.training.learner import Learner

    catalog, split, _ = toys
    rows, kept = split.table.to_pylist(), []
    for row in rows:
        green = [r for r in kept if r["part"] == "train" and r["label"] == "green"]
        if row["part"] != "train" or row["label"] != "green" or len(green) < 2:
            kept.append(row)
    ids = {row["image_id"] for row in kept}
    few = replace(split, table=split.table.filter(np.array([r["image_id"] in ids for r in rows])))
    seen, ours = [], Learner.step

    def step(self, batch):
        seen.extend(batch["target"].tolist())
        return ours(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", step)
        settings = TINY.model_copy(update={"epochs": 1} | change)
        path = fit((catalog, few, None), tmp_path / "m", settings)
    return np.bincount(seen, minlength=3).tolist(), path


def test_the_balanced_sampler_draws_each_class_as_often(toys, tmp_path, monkeypatch):
    natural, first = drawn_labels(toys, tmp_path / "natural", monkeypatch)
    assert 4 <= natural[1] <= 6  # 72 draws of 26 images, of which 2 are green
    balanced, second = drawn_labels(toys, tmp_path / "balanced", monkeypatch, sampler="balanced")
    assert balanced == [24, 24, 24]
    assert describe(first)["training"]["counts"] == describe(second)["training"]["counts"]
    assert weights(first) != weights(second)


def test_balanced_class_weights_weigh_the_loss_and_not_the_draws(toys, tmp_path, monkeypatch):
    plain, first = drawn_labels(toys, tmp_path / "plain", monkeypatch)
    weighed, second = drawn_labels(
        toys, tmp_path / "weighed", monkeypatch, class_weights="balanced"
    )
    assert plain == weighed
    assert weights(first) != weights(second)


@pytest.mark.parametrize(
    ("part", "label", "message"),
    [
        ("train", "green", "class green has no image in the train part"),
        ("train", "*", "the train part of the split is empty"),
        ("val", "*", "the val part of the split is empty"),
    ],
)
def test_a_split_that_cannot_be_trained_on_is_refused(toys, part, label, message, tmp_path):
    catalog, split, _ = toys
    rows = split.table.to_pylist()
    keep = [row["part"] != part or label not in (row["label"], "*") for row in rows]
    from dataclasses import replace

    broken = replace(split, table=split.table.filter(np.array(keep)))
    with pytest.raises(InputError, match=message):
        fit((catalog, broken, None), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_composites_without_a_plan_are_refused(toys, tmp_path):
    with pytest.raises(SettingsError, match="needs a plan and its cell bank"):
        fit(toys, tmp_path / "m", TINY.model_copy(update={"composites": True}))


def test_a_folder_of_other_files_is_not_overwritten(toys, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="did not write"):
        fit(toys, tmp_path / "model", TINY.model_copy(update={"epochs": 1}))
    assert (tmp_path / "model" / "thesis.txt").read_text() == "mine"


def test_the_command_trains_from_artifacts(toys, tmp_path):
    from naturalize.cli.train import train

    settings = ["batch_size=12", "augment.rotate=0"]
    train(
        out=tmp_path / "model",
        catalog=toys[2] / "catalog",
        split=toys[2] / "split",
        model="custom_cnn",
        epochs=1,
        input_size=16,
        settings=settings,
    )
    saved = json.loads((tmp_path / "model" / "model.json").read_text())["training"]
    assert saved["settings"]["augment"] == AugmentSettings(rotate=0).model_dump()
    assert saved["data"]["split"] == toys[1].fingerprint


def test_the_command_trains_on_a_folder_of_labelled_images(toys, tmp_path, capsys):
    from naturalize.cli.app import run_app
    from naturalize.dataset.split import Split

    asked = ["train", str(toys[2] / "images"), "--model", "custom_cnn", "--epochs", "1"]
    asked += ["--input-size", "16", "--device", "cpu", "-o", str(tmp_path / "model")]
    for _ in range(2):  # the second time, what stands is taken
        with pytest.raises(SystemExit, match="0"):
            run_app(asked)
        said = capsys.readouterr()
        assert said.out.splitlines()[0] == f"model: {tmp_path / 'model'}"
        assert "naturalize evaluate" in said.out
    made = Split.load(tmp_path / "model-data" / "split")
    counts = made.counts()
    assert {part: sum(n.values()) for part, n in counts.items()} == {
        "train": 42,
        "val": 6,
        "test": 12,
    }
    about = describe(tmp_path / "model")
    assert about["training"]["data"]["split"] == made.fingerprint
    assert about["training"]["n_real"] == 42
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "model-data"]


def test_parts_that_a_source_names_are_kept(toys, tmp_path):
    from naturalize.inputs.training import open_data

    lines = []
    (tmp_path / "images").symlink_to(toys[2] / "images")
    for label in ("blue", "green", "red"):
        for i, file in enumerate(sorted((toys[2] / "images" / label).iterdir())):
            part = ("train", "val", "test")[min(i // 8, 2)]
            lines.append(f"images/{label}/{file.name},{label},{part}")
    (tmp_path / "all.csv").write_text("\n".join(["path,label,part", *lines]) + "\n")
    counts = open_data(tmp_path / "all.csv").split.counts()
    assert counts["train"] == counts["val"] == {"blue": 8, "green": 8, "red": 8}
    assert counts["test"] == {"blue": 4, "green": 4, "red": 4}
    some = [line for line in lines if not line.endswith("val")]
    (tmp_path / "some.csv").write_text("\n".join(["path,label,part", *some]) + "\n")
    with pytest.raises(InputError, match=r"names the parts test, train; .*add a part val"):
        open_data(tmp_path / "some.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet17"}, "unknown model 'resnet17'"),
        ({"model": "pbc11"}, "'pbc11' is a trained model: .*as weights"),
        ({"model": "cbam:custom_cnn+resnet17"}, "unknown model 'resnet17'"),
        ({"model": "test_vit", "input_size": 33}, "test_vit cannot take input_size 33"),
        ({"model": "resnet18", "weights": "imagenet"}, "no ImageNet weights for 'resnet18'"),
        ({"weights": "nothing.pth"}, "no such file"),
        ({"network_options": {"chanels": [8]}}, "did you mean 'channels'"),
        ({"device": "cuda:99"}, "has no GPU|has \\d+ GPU"),
    ],
)
def test_what_cannot_be_trained_is_found_before_the_images_are_read(change, message):
    from naturalize.training.fit import check

    with pytest.raises(NaturalizeError, match=message):
        check(TINY.model_copy(update=change))


def test_weights_that_cannot_be_fetched_are_found_by_the_check(monkeypatch):
    import timm

    from naturalize.training.fit import check

    def fail(*args, **kwargs):
        raise OSError("no net")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(SettingsError, match=r"could not fetch weights for 'resnet10t' \(no net\)"):
        check(TrainSettings(model="resnet10t", weights="download"))


def test_what_can_be_trained_passes_the_check():
    from naturalize.training.fit import check

    check(TINY)
    lite0 = {"model": "tf_efficientnet_lite0", "input_size": 64}
    check(TINY.model_copy(update={**lite0, "weights": "pbc11"}))


def test_an_epoch_is_as_long_as_there_are_real_images_if_asked(toys, tmp_path):
    settings = TINY.model_copy(update={"epochs": 1, "samples_per_epoch": "real"})
    assert describe(fit(toys, tmp_path / "m", settings))["training"]["samples_per_epoch"] == 36


def test_the_command_names_what_is_missing(toys, tmp_path):
    from naturalize.cli.train import train

    with pytest.raises(SettingsError, match="no split; name it with --split FOLDER"):
        train(source=toys[2] / "catalog", out=tmp_path / "m")
    with pytest.raises(SettingsError, match="holds no plan and bank"):
        train(source=toys[2], out=tmp_path / "m", composites=True)
    with pytest.raises(InputError, match="no such folder"):
        train(source=toys[2] / "nothing", out=tmp_path / "m")


def test_training_pixels_are_the_resized_files(toys, tmp_path):
    from naturalize.models.preprocess import View, resize
    from naturalize.training.data import CellImages, classes_of

    catalog, split, _ = toys
    classes = classes_of(catalog, split)
    data = CellImages(TINY, catalog, split, classes=classes, view=View(16), work=tmp_path)
    data.decode()
    batch = next(iter(data.val_dataloader()))
    ids = split.ids("val")
    assert batch["pixels"].shape == (12, 16, 16, 3)
    for pixels, image_id in zip(batch["pixels"].numpy(), ids, strict=True):
        expected = resize(read_image(catalog.path_of(image_id)), 16)
        np.testing.assert_array_equal(pixels, expected)
