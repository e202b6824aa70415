"""A multipart body to files on disk, piece by piece: memory does not grow with an upload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from naturalize.review.api.errors import RefusedError
from naturalize.review.api.limits import Limits

#: Bytes of the names and values of one part's headers.
_HEADERS = 16_384


class Receiver:
    """Writes the files of a multipart body into ``folder``, numbered; ``files`` has their names.

    Parts without a file name are passed over.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.files: list[tuple[str, Path]] = []
        self._folder, self._limits = folder, limits
        self._field, self._value, self._headers = b"", b"", dict[str, bytes]()
        self._open: BinaryIO | None = None
        self._size, self._ended = 0, False

    async def receive(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        """Read the whole body; ``RefusedError`` if it is no multipart body, cut or too long."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise RefusedError(422, "invalid", "expected files as multipart/form-data")
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_field,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self.close,
                    "on_end": self._on_end,
                },
            )
            async for data in stream:
                parser.write(data)
            parser.finalize()
        except FormParserError as error:
            raise RefusedError(400, "bad-request", f"a damaged multipart body ({error})") from error
        finally:
            self.close()
        if not self._ended:
            raise RefusedError(400, "bad-request", "the upload ended before its last byte")

    def close(self) -> None:
        """Close the file that is written, if any."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _begin(self) -> None:
        self._field, self._value, self._headers = b"", b"", {}

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_headers()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._field) + len(self._value) > _HEADERS or len(self._headers) > 20:
            raise RefusedError(400, "bad-request", "the headers of a part are too long")

    def _on_header(self) -> None:
        self._headers[self._field.lower().decode("latin-1")] = self._value
        self._field, self._value = b"", b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        if b"filename" not in options:
            return
        if len(self.files) >= self._limits.files:
            raise RefusedError(413, "too-large", f"more than {self._limits.files} files at once")
        path = self._folder / f"{len(self.files):06d}"
        self.files.append((options[b"filename"].decode("utf-8", "replace"), path))
        self._open, self._size = path.open("wb"), 0

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._open is None:
            return
        self._size += end - start
        if self._size > self._limits.file:
            name = self.files[-1][0][:100]
            size = f"{self._limits.file / 2**20:.0f} MB"
            raise RefusedError(413, "too-large", f"{name!r} is longer than {size}")
        self._open.write(data[start:end])

    def _on_end(self) -> None:
        self._ended = True
