"""``naturalize cells`` and ``naturalize bank``: what a user types, and what they see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bank_makers import drawn_bank
from PIL import Image

from naturalize.base.artifacts import is_artifact, read_manifest
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.cli.app import run_app
from naturalize.dataset.catalog import Catalog


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    drawn_bank(folder).save(folder / "bank")
    Catalog.build(folder / "images").save(folder / "catalog")
    return folder


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run_app([str(word) for word in words])
    return int(ended.value.code or 0)


def test_bank_and_its_two_ways_to_travel(made: Path, tmp_path: Path, capsys) -> None:
    start = ("bank", made / "cells", "--catalog", made / "catalog", "-o")
    assert run(*start, tmp_path / "images", "--self-contained") == 0
    assert run(*start, tmp_path / "crops", "--crops") == 0
    for name in ("images", "crops"):
        assert CellBank.load(tmp_path / name).holds == name
    assert run(*start, tmp_path / "both", "--crops", "--self-contained") == 2
    assert "not both" in capsys.readouterr().err


def test_the_catalog_of_other_images_is_refused(made: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other"
    for i in range(6):
        for label in ("A", "B"):
            (other / label).mkdir(parents=True, exist_ok=True)
            image = np.full((60, 60, 3), 200 + i, np.uint8)
            image[:, : 20 + (label == "B")] = 90
            Image.fromarray(image).save(other / label / f"{i}.png")
    start = ("bank", made / "cells", "-o", tmp_path / "bank", "--catalog")
    Catalog.build(other).save(tmp_path / "none")
    assert run(*start, tmp_path / "none") == 2
    (other / "A" / "6.png").write_bytes((made / "images" / "LY" / "ly0.png").read_bytes())
    Catalog.build(other).save(tmp_path / "one")
    assert run(*start, tmp_path / "one") == 2
    assert "1 of its 4 images are among the 13 of this catalog" in capsys.readouterr().err
    assert not (tmp_path / "bank").exists()
    for name in ("LY/ly1", "SNE/sne0", "SNE/sne1"):
        source = made / "images" / f"{name}.png"
        (other / "A" / source.name).write_bytes(source.read_bytes())
    Catalog.build(other).save(tmp_path / "more")
    assert run(*start, tmp_path / "more") == 0
    out = capsys.readouterr()
    assert "12 of 16 images of the catalog have not been segmented (A, B)" in out.err
    assert "few target cells" in out.err
    assert "A: 4 of 4 target cells accepted" in out.out


def test_show_counts_and_draws(made: Path, tmp_path: Path, capsys) -> None:
    assert run("cells", "show", made / "bank", "-o", tmp_path / "all.png") == 0
    said = capsys.readouterr().out
    assert "4  cells of 20" not in said
    assert "8  red cells" in said
    assert run("cells", "show", made / "bank", "--rejected", "-o", tmp_path / "lost.jpg") == 0
    assert "4  red: touches the image border" in capsys.readouterr().out
    for name in ("all.png", "lost.jpg"):
        assert read_image(tmp_path / name).std() > 5
    assert run("cells", "show", made / "bank", "--kind", "rbc", "--where", "area=1:2") == 0
    assert "0  cells of 20" in capsys.readouterr().out


def test_show_tells_all_of_one_cell(made: Path, tmp_path: Path, capsys) -> None:
    cell = CellBank.load(made / "bank").cells("wbc")["cell_id"][0].as_py()
    assert run("cells", "show", made / "bank", "--cell", cell, "-o", tmp_path / "cell.png") == 0
    said = capsys.readouterr().out
    assert cell in said
    assert "nc_ratio" in said
    assert (tmp_path / "cell.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--where", "area"), "COLUMN=LOW:HIGH"),
        (("--where", "area=x:"), "COLUMN=LOW:HIGH"),
        (("--where", "size=1:"), "size"),
        (("--cell", "none-0"), "none-0"),
    ],
)
def test_a_slip_is_one_line(made: Path, words: tuple[str, ...], said: str, capsys) -> None:
    assert run("cells", "show", made / "bank", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")


@pytest.mark.parametrize("format", ["shards", "coco", "labels", "rgba"])
def test_out_and_in_again(made: Path, tmp_path: Path, format: str, capsys) -> None:
    out = tmp_path / "out"
    assert run("cells", "export", made / "bank", "-f", format, "-o", out, "--all") == 0
    assert "20 cells" in capsys.readouterr().out
    assert read_manifest(out, "export").settings["format"] == format
    start = ("cells", "import", out, "-o", tmp_path / "bank", "--engine", "serial")
    assert run(*start) == 0
    assert is_artifact(tmp_path / "bank", "bank")
    assert CellBank.load(tmp_path / "bank").cells(target=True).num_rows == 4


def test_masks_become_cells_and_say_what_is_next(made: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert run("cells", "export", made / "bank", "-f", "labels", "--kind", "rbc", "-o", out) == 0
    start = ("cells", "import", out, "--engine", "serial", "-o", tmp_path / "cells")
    assert run(*start, "--kind", "rbc") == 0
    assert "next: naturalize bank" in capsys.readouterr().out
    assert is_artifact(tmp_path / "cells", "cells")
    assert run(*start, "--accept-all") == 2
    assert run(*start, "--to", "bank") == 2
    assert "no class" in capsys.readouterr().err
    assert run(*start, "--kind", "rbc", "--kind", "wbc") == 2
    assert run(*start, "--to", "bankk") == 2


def test_named_kinds_and_a_kind_for_the_rest(made: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "in"
    cut = CellBank.load(made / "bank")
    from naturalize.cells.exchange import export

    export(cut, tmp_path / "rgba", format="rgba", cells=cut.cells("rbc"))
    (tmp_path / "rgba" / "rbc").rename(tmp_path / "rgba" / "sickle")
    (tmp_path / "rgba").rename(folder)
    start = ("cells", "import", folder, "-f", "rgba", "--engine", "serial", "-o", tmp_path / "bank")
    assert run(*start) == 2
    assert "--kind 'sickle=wbc'" in capsys.readouterr().err
    assert run(*start, "--kind", "sickle=rbc", "--kind", "wbc") == 0
    assert CellBank.load(tmp_path / "bank").cells("rbc", "sickle").num_rows == 8


def test_what_a_mask_means_is_an_option(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    inner, outer = (np.zeros((90, 120), np.uint8) for _ in range(2))
    inner[40:60, 40:60] = outer[25:75, 25:75] = 1
    image = np.full((90, 120, 3), (250, 228, 205), np.uint8)
    image[outer > 0], image[inner > 0] = (200, 160, 200), (80, 40, 120)
    Image.fromarray(image).save(folder / "a.png")
    Image.fromarray(inner + outer).save(folder / "a_mask.png")
    start = ("cells", "import", folder, "--engine", "serial", "-o", tmp_path / "cells")
    assert run(*start) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--meaning levels" in error
    assert run(*start, "--meaning", "level") == 2
    assert "levels" in capsys.readouterr().err
    assert run(*start, "--meaning", "levels") == 0
    assert "1 white cells, 0 red cells" in capsys.readouterr().out
    assert run(*start, "--meaning", "numbers", "--kind", "rbc") == 0
    assert "2 red cells" in capsys.readouterr().out
    (folder / "a_mask.png").unlink()
    Image.fromarray((outer == 0).astype(np.uint8) * 255).save(folder / "a_mask.png")
    assert run(*start) == 2
    assert "--invert" in capsys.readouterr().err
    assert run(*start, "--invert", "--kind", "rbc") == 0
    assert "1 red cells" in capsys.readouterr().out


def test_brush_masks_are_an_option_and_said_once(tmp_path: Path, capsys) -> None:
    Image.new("RGB", (40, 30), (250, 228, 205)).save(tmp_path / "a.png")
    runs = {"size": [30, 40], "counts": [305, 10, 20, 10, 855]}
    crowd = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": runs, "iscrowd": 1}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "rbc"}],
        "annotations": [crowd],
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    start = ("cells", "import", file, "--engine", "serial", "-o", tmp_path / "cells")
    assert run(*start) == 2
    assert capsys.readouterr().err.count("--brush") == 1
    assert run(*start, "--brush") == 0
    assert "1 red cells" in capsys.readouterr().out
    content["annotations"].append({**crowd, "id": 2, "iscrowd": 0})
    file.write_text(json.dumps(content))
    assert run(*start, "--overwrite") == 0
    assert capsys.readouterr().err.count("--brush") == 1
