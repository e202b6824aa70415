"""``naturalize compose`` in the modes that need whole images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import typer
from compose_makers import make_bank
from typer.testing import CliRunner

from naturalize.base.artifacts import read_json
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError, SettingsError
from naturalize.base.images import read_image
from naturalize.cli.compose import compose
from naturalize.compose.recipe.plan import Plan


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A bank artifact of two classes beside its images."""
    make_bank(tmp_path / "images", per_class=6, labels=("LY", "SNE")).save(tmp_path / "bank")
    return tmp_path / "bank"


def run(*arguments: object):
    app = typer.Typer()
    app.command()(compose)
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, [*words, "--engine", "serial"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("mode", ["scene", "layout"])
def test_a_folder_of_composites_with_plan_sheet_and_lineage(
    saved: Path, tmp_path: Path, mode: str
) -> None:
    out = tmp_path / "out"
    run(saved, "-m", mode, "--add", 2, "--write", "imagefolder", "--format", "png", "-o", out)
    files = sorted(p.relative_to(out / "images").parts[0] for p in out.glob("images/*/*.png"))
    assert files == ["LY", "LY", "SNE", "SNE"]
    assert read_image(next(out.glob("images/LY/*.png"))).shape == (160, 160, 3)
    about = read_json(out / "plan" / "plan.json")
    assert (about["mode"], about["targets"]) == (mode, {"LY": 2, "SNE": 2})
    assert read_json(out / "plan" / "lineage.json")["n_composites"] == 4
    assert (out / "plan" / "sheet.jpg").is_file()
    Plan.load(out / "plan")


def test_the_summary_on_standard_output_counts_composites_and_cells(
    saved: Path, tmp_path: Path
) -> None:
    result = run(saved, "--add", 9, "-o", tmp_path / "plan")
    said = result.stdout.splitlines()
    drawn = Plan.load(tmp_path / "plan")
    assert said[0] == "18 composites, mode scene"
    for label, line in zip(("LY", "SNE"), said[1:3], strict=True):
        used = Counter(drawn[int(row)].placements[-1].cell_id for row in drawn.rows_of(label))
        most = max(used.values())
        assert line == f"  {label}: 9 from {len(used)} of 6 cells, {most} from the most used one"
    assert said[-2].startswith("lineage: not checked")
    assert said[-1] == f"{tmp_path / 'plan'}: look at sheet.jpg first"


def test_per_class_fills_up_with_composites(saved: Path, tmp_path: Path) -> None:
    run(saved, "-m", "scene", "--per-class", 9, "-o", tmp_path / "plan")
    assert Plan.load(tmp_path / "plan").targets == {"LY": 3, "SNE": 3}


def test_the_gate_tells_what_it_rejected(saved: Path, tmp_path: Path) -> None:
    result = run(
        saved, "-m", "scene", "--add", 6, "--gate", "--set", "stain=0.06", "-o", tmp_path / "plan"
    )
    assert "rejected by the gate: colour unlike that of real cells" in result.output
    assert (
        read_json(tmp_path / "plan" / "plan.json")["rejections"][
            "rejected by the gate: colour unlike that of real cells"
        ]
        > 0
    )


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("-m", "scenes"), SettingsError, "'scene'"),
        (("-m", "scene", "--set", "donor=any"), SettingsError, "'donors'"),
        (("-m", "scene", "--set", "width=500"), InputError, "class LY: none of its 6 scenes"),
        (("-m", "layout", "--set", "smears=none.json"), ArtifactError, "no such file"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    saved: Path, tmp_path: Path, arguments: tuple, error: type[NaturalizeError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(saved, "--add", 1, *arguments, "-o", tmp_path / "plan")
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize("mode", ["paper", "scene", "layout", "varied"])
def test_images_that_changed_since_are_refused_by_class(
    saved: Path, tmp_path: Path, mode: str
) -> None:
    for number in range(6):
        (tmp_path / "images" / "SNE" / f"{number}.png").write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"class SNE: \d+ of \d+\); the first: .*has changed"):
        run(saved, "-m", mode, "--add", 4, "--classes", "SNE", "-o", tmp_path / "plan")
