"""The command line from outside: quick help, one-line errors, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from naturalize.cli.app import COMMANDS

ALL = [name for names in COMMANDS.values() for name in names]


def naturalize(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "naturalize", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("command", ALL)
def test_every_command_helps_with_examples(command: str) -> None:
    done = naturalize(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    if command != "data":
        assert "Examples" in done.stdout
        assert f"naturalize {command}" in done.stdout


def test_help_loads_no_heavy_library() -> None:
    script = """
import sys
from naturalize.cli.app import run_app
try:
    run_app(["--help"])
except SystemExit:
    pass
heavy = {"torch", "timm", "cv2", "skimage", "sklearn", "matplotlib", "pyarrow"}
print("LOADED", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "LOADED []" in done.stdout
    assert all(name in done.stdout for name in ALL)


def test_an_option_of_one_value_is_given_once(tmp_path: Path) -> None:
    done = naturalize("labs", "a", "-m", "one", "--model", "two", "-o", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --model is given 2 times, and takes one value")
    assert len(done.stderr.splitlines()) == 1
    # options that may be given again still may, and a flag too
    done = naturalize(
        "labs", "a", *("--map", "EO=EO") * 2, *("--only-mapped",) * 2, "-o", "out", cwd=tmp_path
    )
    assert "given" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("cells", "import", "https://lab.example/annotations.json", "-o", "out"),
        ("segment", "http://lab.example/a.jpg", "-o", "out"),
        ("segment", "images", "-o", "https://lab.example/out"),
    ],
)
def test_a_web_address_is_no_path(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = naturalize(*words, cwd=tmp_path)
    web = next(word for word in words if word.startswith("http"))
    assert done.returncode == 2
    assert done.stderr == f"error: {web}: a web address; download it, and name the file or folder\n"
    assert not list(tmp_path.iterdir())


def test_version_is_told() -> None:
    import naturalize as package

    assert naturalize("--version").stdout.strip() == f"naturalize {package.__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["catalog", "nowhere", "-o", "out"], "nowhere"),
        (["catalog", "empty", "-o", "out"], "empty"),
        (["run", "nowhere.yaml"], "no such study file"),
        (["run", "typo.yaml"], "did you mean 'runs'"),
        (["run", "noroot.yaml"], "data.root"),
        (["segment", "nowhere", "-o", "out"], "nowhere"),
        (["compose", "nowhere", "--add", "3", "-o", "out"], "nowhere"),
        (["evaluate", "nomodel", "empty", "-o", "out"], "nomodel"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "nowhere", "--model", "nomodel"], "no"),
        (["phantom", "--per-class", "0", "-o", "out"], "per"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "typo.yaml").write_text("name: x\ndata: {root: empty}\nrns: {}\n")
    (tmp_path / "noroot.yaml").write_text("name: x\ndata: {}\nruns: {a: {model: custom_cnn}}\n")
    done = naturalize(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "out").symlink_to("/dev/full")
    done = naturalize("phantom", "--per-class", "1", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_unknown_attributes_are_errors_and_known_ones_work() -> None:
    import naturalize as package

    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_a_network_without_pytorch_names_the_extra(phantom_root: Path, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = None  # as where it is not installed
from naturalize.cli.app import run_app
run_app(["predict", {str(phantom_root)!r}, "-o", {str(tmp_path / "p.csv")!r}, "--engine", "torch"])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'naturalize[train]'" in done.stderr
    assert "Traceback" not in done.stderr
