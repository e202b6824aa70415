"""Images that are put in by the page: whole on disk or absent, classified in the background."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anyio import to_thread

from naturalize.base.errors import NaturalizeError, UnusableError
from naturalize.review.api.errors import Refusals, RefusedError
from naturalize.review.api.limits import Limits
from naturalize.review.api.receive import Receiver
from naturalize.review.api.unpack import Accepted
from naturalize.review.service.intake.added import Added

LOG = logging.getLogger("naturalize.review")

#: Folder of a review that holds them, and how the name of one begins that is not whole yet.
FOLDER, _INCOMING = "uploads", ".incoming-"


Progress = Callable[[int, int], None]
Add = Callable[[list[Path], Progress], Added]


@dataclass
class Upload:
    """How far one upload is."""

    state: Literal["waiting", "working", "done", "failed"] = "waiting"
    done: int = 0
    total: int = 0
    cells: int = 0
    refused: list[UnusableError] = field(default_factory=list)
    message: str | None = None


class Uploads:
    """The uploads of a server: received, checked, moved in whole, handed to the classifier.

    ``add`` classifies files and adds their cells, all or none; ``has_cells`` says whether cells
    are below a folder; ``refusals`` writes down files that are not taken. What an earlier server
    left half done is removed.
    """

    def __init__(
        self,
        review: Path,
        limits: Limits,
        refusals: Refusals,
        *,
        add: Add,
        has_cells: Callable[[str], bool],
    ) -> None:
        self._folder, self._limits, self._add = review / FOLDER, limits, add
        self._refusals = refusals
        self._all: dict[str, Upload] = {}
        self._receiving, self._lock = 0, threading.Lock()
        self._worker = ThreadPoolExecutor(1, "uploads")
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.iterdir():
            if left.is_dir() and not has_cells(f"{FOLDER}/{left.name}/"):
                LOG.info("removed the unfinished upload %s", left.name)
                shutil.rmtree(left)

    def close(self) -> None:
        """Stop: what has not begun is removed by the next server."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def get(self, upload: str) -> Upload | None:
        """Return an upload of this server."""
        return self._all.get(upload)

    async def take(
        self, who: str, content_type: str, stream: AsyncIterator[bytes]
    ) -> tuple[str, Upload]:
        """Receive files from ``who``; return the name of the upload and how far it is.

        ``RefusedError`` if none can be used, if too much is sent, or if the disk is full; nothing
        is stored then.
        """
        with self._lock:
            at_work = sum(u.state in ("waiting", "working") for u in self._all.values())
            busy = self._receiving + at_work
            if busy >= self._limits.waiting:
                raise RefusedError(429, "rate", f"{busy} uploads are at work; try again later")
            self._receiving += 1
        name = secrets.token_hex(8)
        incoming = self._folder / f"{_INCOMING}{name}"
        try:
            (incoming / "raw").mkdir(parents=True)
            receiver = Receiver(incoming / "raw", self._limits)
            await receiver.receive(content_type, stream)
            accepted = await to_thread.run_sync(self._check, who, incoming, receiver.files)
            return name, self._start(name, incoming, accepted)
        finally:
            with self._lock:
                self._receiving -= 1
            shutil.rmtree(incoming, ignore_errors=True)

    def _check(self, who: str, incoming: Path, files: list[tuple[str, Path]]) -> Accepted:
        accepted = Accepted(incoming / "files", self._limits)
        for name, file in files:
            accepted.add(name, file)
        for error in accepted.refused:
            self._refusals.add(who, f"upload of {error.where}", 422, error.reason)
        if not accepted.paths:
            first = str(accepted.refused[0]) if accepted.refused else "no file was sent"
            refused = [{"name": e.where, "reason": e.reason} for e in accepted.refused[:100]]
            raise RefusedError(422, "refused", first, {"files": refused})
        return accepted

    def _start(self, name: str, incoming: Path, accepted: Accepted) -> Upload:
        place = self._folder / name
        (incoming / "files").rename(place)
        paths = [place / path.relative_to(accepted.folder) for path in accepted.paths]
        upload = Upload(total=len(paths), refused=list(accepted.refused))
        self._all[name] = upload
        self._worker.submit(self._classify, upload, place, paths)
        return upload

    def _classify(self, upload: Upload, place: Path, paths: list[Path]) -> None:
        def progress(done: int, total: int) -> None:
            upload.done, upload.total = done, total

        upload.state = "working"
        try:
            added = self._add(paths, progress)
        except Exception as error:  # whatever it is, the server goes on
            shutil.rmtree(place, ignore_errors=True)
            ours = isinstance(error, NaturalizeError)
            upload.message = str(error) if ours else "classifying failed; the server's log says why"
            upload.state = "failed"
            LOG.error("upload %s: %s", place.name, error, exc_info=None if ours else error)
            return
        upload.refused += [UnusableError(name, reason) for name, reason in added.refused]
        upload.cells, upload.done = added.cells, upload.total
        upload.state = "done"
        if added.cells == 0:
            shutil.rmtree(place, ignore_errors=True)
