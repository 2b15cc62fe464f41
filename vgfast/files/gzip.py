"""The contents of a gzip file, piece by piece, so that no more is in memory than is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

MAGIC = b"\x1f\x8b"
PIECE = 1 << 16  # bytes at a time
# What deflate makes of a byte at most: 258 bytes from two bits, a length and a distance of one bit each.
EXPANSION = 1032


def inflate(file: BinaryIO) -> Iterator[bytes]:
    """In pieces that are never empty nor larger than ``PIECE``. ValueError says in half a sentence what is wrong.

    As gunzip reads it: what several members hold is one after the other (RFC 1952, 2.2), and zeros may follow.
    """
    given = file.read(PIECE)
    while given:
        inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # of gzip, with its checksum
        while True:
            try:
                piece = inflate.decompress(given, PIECE)
            except zlib.error as error:
                raise ValueError(f"it cannot be unzipped ({error})") from None
            if piece:
                yield piece
            if inflate.eof:
                break
            if not piece and not given:
                raise ValueError("it cannot be unzipped, as it ends too soon")
            given = inflate.unconsumed_tail or file.read(PIECE)
        given = _next_member(file, inflate.unused_data)


def _next_member(file: BinaryIO, given: bytes) -> bytes:
    """What begins with another member's first byte; nothing where only zeros follow."""
    while not (given := given.lstrip(b"\0")):
        given = file.read(PIECE)
        if not given:
            return b""
    if len(given) < len(MAGIC):
        given += file.read(PIECE)
    if not given.startswith(MAGIC):
        raise ValueError("something follows after what is gzipped")
    return given
