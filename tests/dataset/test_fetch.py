"""Fetching PBC, against a server of this machine that behaves as badly as the net can."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dataset_makers import jpeg, picture

from naturalize.base.download import DownloadError, download
from naturalize.dataset import fetch
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.fetch import ARCHIVE, PBC_COUNTS, fetch_pbc

COUNTS = {"BNE": 3, "PLATELET": 2, "IG": 1}
FAST = {"wait": 0.001, "timeout": 2.0}


def archive(extra=(), counts=COUNTS):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for prefix, n in counts.items():
            for i in range(n):
                name = f"PBC_dataset_normal_DIB/{prefix.lower()}/{prefix}_{i}.jpg"
                opened.writestr(name, jpeg(picture(i + 10 * len(prefix), size=(120, 110))))
        opened.writestr("PBC_dataset_normal_DIB/platelet/.DS_169665.jpg", b"junk")
        for name in extra:
            opened.writestr(name, b"evil")
    return buffer.getvalue()


class Server:
    """A web server with a listing and one file; ``cuts`` ends that many answers half-way."""

    def __init__(self, data: bytes, *, ranges=True, cuts=0, failures=(), sha=None, named=ARCHIVE):
        self.data, self.ranges, self.cuts = data, ranges, cuts
        self.failures = list(failures)
        self.sha = sha or hashlib.sha256(data).hexdigest()
        self.named = named
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                server.asked.append((self.path, self.headers.get("Range")))
                if self.path.startswith("/list"):
                    return self._send(200, json.dumps(server.listing()).encode())
                if server.failures:
                    return self.send_error(server.failures.pop(0))
                return self._file()

            def _file(self):
                start, asked = 0, self.headers.get("Range")
                if server.ranges and asked:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                total = len(server.data)
                headers = {}
                if start:
                    headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
                return self._send(206 if start else 200, server.data[start:], headers, cut=True)

            def _send(self, status, body, headers=None, *, cut=False):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                if cut and server.cuts:
                    server.cuts -= 1
                    body = body[: len(body) // 2]
                    self.close_connection = True
                self.wfile.write(body)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def listing(self):
        details = {
            "sha256_hash": self.sha, "size": len(self.data), "download_url": f"{self.url}/file",
        }  # fmt: skip
        entry = {"filename": self.named, "size": len(self.data), "content_details": details}
        return [{"filename": "readme.txt"}, entry]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self._http.shutdown()
        self._http.server_close()

    def fetch(self, dest, **options):
        options = {"expected": COUNTS, **FAST, **options}
        return fetch_pbc(dest, api_url=f"{self.url}/list", **options)

    def ranges_asked(self):
        return [asked for path, asked in self.asked if path == "/file"]


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "data"


def left(dest):
    return sorted(p.name for p in dest.iterdir()) if dest.exists() else []


def test_a_good_server(dest):
    with Server(archive()) as server:
        folder = server.fetch(dest)
        assert server.ranges_asked() == [None]
    assert folder == dest / "PBC_dataset_normal_DIB"
    assert left(dest) == ["PBC_dataset_normal_DIB"]
    catalog = Catalog.build(folder, scheme="pbc11")
    assert {k: v for k, v in catalog.counts().items() if v} == {"BNE": 3, "PLT": 2}
    assert catalog.dropped == {"IG": 1}


def test_images_that_are_there_are_not_fetched_again(dest):
    with Server(archive()) as server:
        server.fetch(dest)
        asked = len(server.asked)
        assert server.fetch(dest) == dest / "PBC_dataset_normal_DIB"
        assert len(server.asked) == asked


def test_cut_connections_are_resumed_where_they_stopped(dest):
    data = archive()
    with Server(data, cuts=3) as server:
        server.fetch(dest)
        starts = [int((asked or "bytes=0-")[6:-1]) for asked in server.ranges_asked()]
    assert len(starts) == 4
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[1] == len(data) // 2


def test_a_killed_download_goes_on_in_the_next_run(dest):
    data = archive()
    dest.mkdir()
    (dest / f"{ARCHIVE}.partial").write_bytes(data[:1000])
    with Server(data) as server:
        server.fetch(dest)
        assert server.ranges_asked() == ["bytes=1000-"]


def test_a_server_without_ranges_starts_over(dest):
    with Server(archive(), ranges=False, cuts=2) as server:
        server.fetch(dest)
        assert len(server.ranges_asked()) == 3
    assert left(dest) == ["PBC_dataset_normal_DIB"]


def test_passing_errors_are_tried_again(dest):
    with Server(archive(), failures=[503, 429, 500]) as server:
        server.fetch(dest)


def test_a_connection_that_always_breaks_ends_with_advice(dest):
    with (
        Server(archive(), ranges=False, cuts=99) as server,
        pytest.raises(DownloadError, match=r"no success after 3 tries.*goes on where it stopped"),
    ):
        server.fetch(dest, retries=2)
    assert left(dest) == [f"{ARCHIVE}.partial"]


def test_a_wrong_checksum_leaves_nothing(dest):
    with (
        Server(archive(), sha="0" * 64) as server,
        pytest.raises(DownloadError, match="wrong checksum"),
    ):
        server.fetch(dest)
    assert left(dest) == []


def test_a_partial_file_of_something_else_is_thrown_away(dest):
    data = archive()
    dest.mkdir()
    (dest / f"{ARCHIVE}.partial").write_bytes(b"x" * 1000)
    with Server(data) as server:
        with pytest.raises(DownloadError, match="wrong checksum"):
            server.fetch(dest)
        server.fetch(dest)
    assert left(dest) == ["PBC_dataset_normal_DIB"]


def test_a_partial_file_that_is_too_long_is_thrown_away(dest):
    data = archive()
    dest.mkdir()
    (dest / f"{ARCHIVE}.partial").write_bytes(data + b"more")
    with Server(data) as server:
        server.fetch(dest)


def test_a_complete_partial_file_is_only_checked(dest):
    data = archive()
    dest.mkdir()
    (dest / f"{ARCHIVE}.partial").write_bytes(data)
    with Server(data) as server:
        server.fetch(dest)
        assert server.ranges_asked() == []


def test_an_archive_downloaded_by_hand_is_checked_and_used(dest):
    data = archive()
    dest.mkdir()
    (dest / ARCHIVE).write_bytes(data)
    with Server(data) as server:
        server.fetch(dest)
        assert server.ranges_asked() == []
    other = dest.parent / "other"
    other.mkdir()
    (other / ARCHIVE).write_bytes(b"not it")
    with Server(data) as server, pytest.raises(DownloadError, match="not the file announced"):
        server.fetch(other)
    assert (other / ARCHIVE).read_bytes() == b"not it"


def test_a_missing_file_is_no_passing_error(dest):
    with Server(archive(), failures=[404] * 9) as server:
        with pytest.raises(DownloadError, match=r"answers 404.*or download .* and unpack it"):
            server.fetch(dest)
        assert len(server.ranges_asked()) == 1


def test_a_listing_without_the_archive_names_what_it_has(dest):
    with (
        Server(archive(), named="other.zip") as server,
        pytest.raises(DownloadError, match=r"lists no PBC_.*readme.txt, other.zip"),
    ):
        server.fetch(dest)
    assert left(dest) == []


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ({"error": "gone"}, "expected a list of files"),
        ([], "lists nothing|it lists: nothing"),
        ([{"filename": ARCHIVE, "size": 3}], "lacks 'download_url'"),
        ([{"filename": ARCHIVE, "size": 3, "content_details": {"download_url": "file:///etc/passwd",
           "sha256_hash": "0" * 64}}], "not a web address"),
    ],
)  # fmt: skip
def test_strange_listings(dest, monkeypatch, listing, said):
    with Server(archive()) as server, monkeypatch.context() as patch:
        patch.setattr(Server, "listing", lambda self: listing)
        with pytest.raises(DownloadError, match=said):
            server.fetch(dest)
    assert left(dest) == []


def test_no_network_is_said_plainly(dest):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(DownloadError, match=r"no success after 2 tries.*refused.*check the net"):
        fetch_pbc(dest, api_url=f"http://127.0.0.1:{port}/list", retries=1, **FAST)
    assert left(dest) == []


def test_a_server_that_falls_silent_is_given_up(dest):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/list"
        with pytest.raises(DownloadError, match="timed out"):
            fetch_pbc(dest, api_url=url, retries=1, wait=0.001, timeout=0.1)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:\\x.txt"])
def test_members_outside_the_folder_are_refused(dest, name):
    with (
        Server(archive(extra=[name])) as server,
        pytest.raises(DownloadError, match="outside the folder"),
    ):
        server.fetch(dest)
    assert left(dest) == [ARCHIVE]
    assert not list(dest.parent.rglob("evil*"))


def test_other_images_than_published_are_refused(dest):
    with (
        Server(archive(counts={**COUNTS, "BNE": 2, "XX": 1})) as server,
        pytest.raises(DownloadError, match="BNE 2 instead of 3, XX 1 instead of 0"),
    ):
        server.fetch(dest)
    assert left(dest) == [ARCHIVE]


def test_an_incomplete_folder_is_named(dest):
    with Server(archive()) as server:
        folder = server.fetch(dest)
        next(folder.rglob("BNE_*.jpg")).unlink()
        with pytest.raises(DownloadError, match="BNE 2 instead of 3"):
            server.fetch(dest)


def test_a_damaged_archive_is_removed(dest):
    with Server(b"PK but no zip" * 50) as server, pytest.raises(DownloadError, match="damaged"):
        server.fetch(dest)
    assert left(dest) == []


def test_too_little_room_is_said_before_downloading(dest, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: type("U", (), {"free": 10})())
    with Server(archive()) as server:
        with pytest.raises(DownloadError, match="GB free"):
            server.fetch(dest)
        assert server.ranges_asked() == []


def test_more_bytes_than_announced_are_refused(tmp_path):
    with Server(b"x" * 1000) as server, pytest.raises(DownloadError, match="more than the 900"):
        download(f"{server.url}/file", tmp_path / "f", size=900, sha256="0" * 64, **FAST)
    assert left(tmp_path) == []


def test_the_published_counts_add_up():
    assert sum(PBC_COUNTS.values()) == 17092
    assert sum(n for k, n in PBC_COUNTS.items() if k not in ("IG", "NEUTROPHIL")) == 16891
