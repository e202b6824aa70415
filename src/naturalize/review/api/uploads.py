"""Images that are put in by the page: whole on disk or absent, classified in the background."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from naturalize.base.artifacts import read_json, write_json
from naturalize.base.errors import ArtifactError, NaturalizeError
from naturalize.review.api.errors import Refusals, RefusedError
from naturalize.review.api.limits import Limits
from naturalize.review.api.receive import Receiver
from naturalize.review.api.unpack import Accepted
from naturalize.review.service.intake.added import Added
from naturalize.review.service.intake.prepare import UPLOADS

LOG = logging.getLogger("naturalize.review")

#: How the name of one begins that is not whole yet.
_INCOMING = ".incoming-"

#: States of ended uploads that are kept: a page asks for its own within minutes.
_KEPT = 100

_INTERRUPTED = "the server was stopped before this upload was classified; send it again"

Progress = Callable[[int, int], None]
Add = Callable[[list[Path], Progress], Added]


@dataclass
class Upload:
    """How far one upload is; ``refused``: name and reason of files that were not taken."""

    state: Literal["waiting", "working", "done", "failed"] = "waiting"
    done: int = 0
    total: int = 0
    cells: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    message: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in ("done", "failed")


class Uploads:
    """The uploads of a review: received, checked, moved in whole, handed to the classifier.

    ``add`` classifies files and adds their cells, all or none; ``cells_below`` says how many cells
    are below a folder; ``refusals`` writes down files that are not taken. What an earlier server
    left half done is removed, and its uploads are said to be interrupted.
    """

    def __init__(
        self,
        review: Path,
        limits: Limits,
        refusals: Refusals,
        *,
        add: Add,
        cells_below: Callable[[str], int],
    ) -> None:
        self._folder, self._limits, self._add = review / UPLOADS, limits, add
        self._refusals, self._cells_below = refusals, cells_below
        self._all: dict[str, Upload] = {}
        self._receiving, self._lock = 0, threading.Lock()
        self._worker = ThreadPoolExecutor(1, "uploads")
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.iterdir():
            if left.is_dir() and not self._cells_of(left.name):
                LOG.info("removed the unfinished upload %s", left.name)
                shutil.rmtree(left)
        states = self._folder.glob("*.json")
        for file in sorted(states, key=lambda file: file.stat().st_mtime, reverse=True):
            self._take_up(file)

    def _take_up(self, file: Path) -> None:
        """Read the state that an earlier server left of an upload."""
        if len(self._all) >= _KEPT:
            file.unlink()
            return
        try:
            upload = TypeAdapter(Upload).validate_python(read_json(file))
        except (ArtifactError, ValidationError) as error:
            LOG.error("%s: %s", file, error)
            file.unlink()
            return
        self._all[file.stem] = upload
        if upload.has_ended:
            return
        upload.cells = self._cells_of(file.stem)
        upload.state = "done" if upload.cells else "failed"
        upload.done = upload.total if upload.cells else 0
        upload.message = None if upload.cells else _INTERRUPTED
        self._keep(file.stem)

    def _cells_of(self, name: str) -> int:
        return self._cells_below(f"{UPLOADS}/{name}/")

    def _keep(self, name: str) -> None:
        """Write the state of an upload, so that the next server has it too."""
        write_json(self._folder / f"{name}.json", asdict(self._all[name]))

    def close(self) -> None:
        """Stop: what has not begun is removed by the next server."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def get(self, upload: str) -> Upload | None:
        """Return an upload, of this server or of an earlier one; null if there was none."""
        return self._all.get(upload)

    async def take(
        self, who: str, content_type: str, stream: AsyncIterator[bytes]
    ) -> tuple[str, Upload]:
        """Receive files from ``who``; return the name of the upload and how far it is.

        ``RefusedError`` if none can be used, if too much is sent, or if the disk is full; nothing
        is stored then.
        """
        with self._lock:
            at_work = sum(not upload.has_ended for upload in self._all.values())
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
        paths = [place / path.relative_to(accepted.folder) for path in accepted.paths]
        refused = [(error.where, error.reason) for error in accepted.refused]
        upload = self._all[name] = Upload(total=len(paths), refused=refused)
        try:
            self._keep(name)
            (incoming / "files").rename(place)
        except BaseException:
            del self._all[name]
            (self._folder / f"{name}.json").unlink(missing_ok=True)
            raise
        self._worker.submit(self._classify, name, paths)
        return upload

    def _classify(self, name: str, paths: list[Path]) -> None:
        upload = self._all[name]

        def progress(done: int, total: int) -> None:
            upload.done, upload.total = done, total

        upload.state = "working"
        try:
            added = self._add(paths, progress)
        except Exception as error:  # whatever it is, the server goes on
            ours = isinstance(error, NaturalizeError)
            upload.message = str(error) if ours else "classifying failed; the server's log says why"
            upload.state = "failed"
            LOG.error("upload %s: %s", name, error, exc_info=None if ours else error)
        else:
            upload.refused += added.refused
            upload.cells, upload.done = added.cells, upload.total
            upload.state = "done"
        if not upload.cells:
            shutil.rmtree(self._folder / name, ignore_errors=True)
        try:
            self._keep(name)
        except (NaturalizeError, OSError) as error:  # the next server works it out
            LOG.error("upload %s: its state is not kept: %s", name, error)
