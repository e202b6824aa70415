"""Every code block of the documentation: Python runs, the rest is held to the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from naturalize.base.images import read_image, write_image
from naturalize.cli.app import build_app
from naturalize.study.check import check_study
from naturalize.study.grid import is_grid, parse_grid
from naturalize.study.settings import StudySettings, parse_study, preset, presets, read_study

REPO = Path(__file__).resolve().parents[1]
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").rglob("*.md"))]

#: A comment before a block that cannot run here, with the reason.
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line it begins at, its language and text."""

    page: Path
    line: int
    language: str
    text: str
    runs: bool

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(REPO).as_posix()}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            before = text[: fence.start()]
            line = before.count("\n") + 1
            runs = not NOT_RUN.search(before)
            found.append(Block(page, line, fence[1], fence[2], runs))
    return [block for block in found if block.language in languages]


def commands() -> list[Any]:
    """Each shell command of the documentation as its words, with the place as id."""
    found = []
    for block in blocks("console"):
        joined = block.text.replace("\\\n", " ")
        for line in joined.splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                found.append(pytest.param(words, id=f"{block.name} {' '.join(words)[:60]}"))
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """Parse the words of a command as the command line does, and return its options."""
    command, name = typer.main.get_command(build_app()), "naturalize"
    context = command.make_context(name, words, resilient_parsing=True)
    while hasattr(command, "get_command"):
        name, *words = words
        child = command.get_command(context, name)
        assert child is not None, f"no command {name!r}"
        command = child
        if hasattr(command, "get_command"):
            context = command.make_context(name, list(words), resilient_parsing=True)
    with command.make_context(name, list(words)) as made:
        return dict(made.params)


@pytest.mark.parametrize("words", commands())
def test_a_command_of_the_documentation_exists(words: list[str]) -> None:
    if words[0] == "naturalize":
        check_settings(words[1], parsed(words[1:]), words)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[:2] == ["python", "-m"]:
        place = REPO / words[2].replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


def check_settings(command: str, options: dict[str, Any], words: list[str]) -> None:
    """Hold what follows ``--set`` to the settings of what the command makes."""
    given = [word for flag, word in pairwise(words) if flag == "--set"]
    pairs = {k: yaml.safe_load(v) for k, _, v in (text.partition("=") for text in given)}
    if command == "run" and given:
        study = str(options["study"])
        file = REPO / study if (REPO / study).is_file() else study
        raw = read_study(file if file != study or study in presets() else "pbc11", given)
        (parse_grid if is_grid(raw) else parse_study)(raw)
    elif command == "train" and pairs:
        from naturalize.training.settings import TrainSettings

        TrainSettings.parse({k: v for k, v in pairs.items() if "." not in k})
    elif command == "compose" and pairs:
        from naturalize.compose.draw.modes import MODES

        known = MODES[options.get("mode") or "scene"].model_fields
        assert set(pairs) <= set(known)
    elif command == "segment" and pairs:
        from naturalize.cells.segmenters import DEFAULT, SEGMENTERS

        name = options.get("segmenter") or DEFAULT
        if name in SEGMENTERS:
            assert set(pairs) <= set(SEGMENTERS[name].model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO).as_posix())
def test_a_page_names_only_runs_and_pages_that_there_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for study, run in re.findall(r"runs/([\w-]+)/(?:models|evaluations)/([\w.-]+)", text):
        if study in presets():
            assert run in yaml.safe_load(preset(study))["runs"]
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_the_python_reference_has_every_name_at_the_top_and_no_other_that_is_not_there() -> None:
    import naturalize

    text = (REPO / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: (\S+)\.(\w+)$", text, re.MULTILINE)
    for module, name in named:
        assert hasattr(import_module(module), name), f"{module}.{name}"
    assert set(naturalize.__all__) <= {name for _, name in named}


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_yaml_of_the_documentation_is_valid(block: Block) -> None:
    # this machine need not have the weights
    raw = yaml.safe_load(block.text.replace("weights: imagenet", "weights: auto"))
    if is_grid(raw):
        grid = parse_grid(raw, source=block.name)
        for cell in grid.cells():
            check_study(grid.study(cell))
    elif set(raw) <= set(StudySettings.model_fields):
        whole = {**yaml.safe_load(preset("pbc11")), **raw}
        check_study(parse_study(whole, source=block.name))
    else:
        from naturalize.training.settings import TrainSettings

        TrainSettings.parse(raw)


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.name)
def test_toml_of_the_documentation_is_valid(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with what the pages speak of, made from a phantom of four classes."""
    import shutil

    import naturalize as nz
    from naturalize.models.shipped import find

    place = tmp_path_factory.mktemp("pages")
    counts = dict.fromkeys(("BA", "EO", "ERB", "SNE"), 12)
    nz.write_phantom(place / "phantom", per_class=counts, seed=5)
    (place / "images").symlink_to(place / "phantom" / "images", target_is_directory=True)
    catalog = nz.Catalog.build(place / "phantom", scheme="pbc11")
    split = nz.Split.build(catalog, fractions=(0.6, 0.2, 0.2))
    demo = place / "runs" / "demo"
    catalog.save(demo / "catalog")
    split.save(demo / "split")
    rows = catalog.usable().select(["image_id", "path"]).to_pylist()
    items = [(row["image_id"], row["path"]) for row in rows]
    nz.segment_images(items, catalog.root, nz.segmenter(), demo / "cells")
    nz.CellBank.build(demo / "cells", catalog, split).save(demo / "bank")
    (place / "runs" / "bank").symlink_to(demo / "bank", target_is_directory=True)
    write_image(place / "smear.jpg", catalog.read(items[0][0]))
    shutil.copytree(find("pbc11"), place / "model")
    return place


def names_of_fragments(place: Path) -> dict[str, Any]:
    """What blocks that show a single line take for granted."""
    import naturalize as nz

    bank = nz.CellBank.load(place / "runs" / "demo" / "bank")
    plan = nz.plan(bank, mode="paper", add=2, seed=1)
    paths = sorted((place / "images").rglob("*.jpg"))
    real = [read_image(path) for path in paths]
    return {
        "bank": bank,
        "plan": plan,
        "recipe": plan.recipe(0),
        "render": nz.render,
        "read_image": read_image,
        "paths": paths,
        "real": real,
        "fake": [np.ascontiguousarray(image[:, ::-1]) for image in real],
        "labels": [path.stem.split("_")[0] for path in paths],
    }


PYTHON = [page for page in PAGES if any(b.page == page for b in blocks("python"))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.relative_to(REPO).as_posix())
def test_python_of_the_documentation_runs(
    page: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.name == "README.md":
        pytest.skip("the lines of examples/ten_lines.py, which test_examples runs")
    for entry in place.iterdir():
        (tmp_path / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    (tmp_path / "phantom").unlink()
    monkeypatch.chdir(tmp_path)
    names = {**names_of_fragments(place), "__name__": "page"}
    for block in blocks("python"):
        if block.page == page:
            code = compile(block.text, block.name, "exec")
            if block.runs:
                exec(code, names)
