"""A member's data, from an archive that is read, into a file."""

from __future__ import annotations

import os

from naru.kernel.writeback import Writeback
from naru.store.tarentry import Entry
from naru.store.tarstream import TarReader


def write_contents(reader: TarReader, fd: int) -> None:
    """All of the current member's, at the start of a new file."""
    if (whole := reader.at_once()) is not None:
        if (count := os.write(fd, whole)) < len(whole):
            write_all(fd, whole[count:])
        return
    written, writeback = 0, Writeback(fd)
    for piece in reader.data():
        write_all(fd, piece)
        written += len(piece)
        writeback.wrote(written)


def write_sparse(reader: TarReader, entry: Entry, fd: int) -> None:
    """Each region where it belongs; between them nothing."""
    regions = iter(entry.sparse or ())
    at = left = 0
    for piece in reader.data():
        while piece:
            while not left:
                at, left = next(regions)
            count = os.pwrite(fd, piece[:left], at)
            at, left, piece = at + count, left - count, piece[count:]
    os.ftruncate(fd, entry.size)


def write_all(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]
