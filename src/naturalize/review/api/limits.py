"""What a server of a review takes at most: sizes, counts and times, each with its reason."""

from __future__ import annotations

from pydantic import Field

from naturalize.base.images import MAX_PIXELS
from naturalize.base.settings import Settings

_MB = 2**20


class Limits(Settings):
    """Limits on what a browser may send. Sizes are in bytes unless they say otherwise."""

    #: Any body but an upload: 100,000 cells with their versions are 1.6 MB of JSON.
    body: int = Field(default=4 * _MB, gt=0)
    #: One upload in all: 500 fields of 4,000 × 3,000 pixels as JPEG (4 MB each).
    upload: int = Field(default=2048 * _MB, gt=0)
    #: One file of an upload, or of a ZIP: a field of 120 megapixels without compression.
    file: int = Field(default=400 * _MB, gt=0)
    #: Files in one upload, those in ZIPs included: a day's cells of a busy laboratory.
    files: int = Field(default=20_000, gt=0)
    #: What the ZIPs of one upload may unpack to.
    unpacked: int = Field(default=4096 * _MB, gt=0)
    #: Unpacked size / packed size: deflate reaches 1,032 on zeros; images without compression
    #: seldom pass 20.
    ratio: int = Field(default=100, gt=1)
    #: Entries below this size are not held to the ratio: small files of one colour are common.
    ratio_from: int = Field(default=1 * _MB, ge=0)
    #: Pixels of an image, as everywhere in the package.
    pixels: int = Field(default=MAX_PIXELS, gt=0)
    #: Bytes of UTF-8 in a name of a file: the 255 that file systems take, less an ending.
    name: int = Field(default=200, gt=0)
    #: Folders in folders within a ZIP.
    depth: int = Field(default=8, gt=0)
    #: Uploads that wait or are classified at one time: each holds files on disk.
    waiting: int = Field(default=8, gt=0)
    #: Refusals a minute that the trail keeps: nobody can fill the disk by asking for nonsense.
    #: The log has them all.
    refusals: int = Field(default=60, ge=0)
