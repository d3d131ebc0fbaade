"""The long work on gzip files, in worker processes: numba and all that needs it stay there.

`take_apart` makes notes of a file (see `notes`), `Remade` makes the file again from notes and plain
bytes. Both read and write through pipes.
"""

from __future__ import annotations

import importlib.util
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final, cast

from naru.kernel.workers import Job, Workers
from naru.store.apart import PipeReader
from naru.store.compression import Writable

SHARE: Final = 4
"""Notes may have one byte for so many of the file: more, and little is saved for the work."""
_SAMPLE = 1 << 18
_EARLY = 1 << 22
"""Bytes of a file after which its notes are given up, if they are too many for these."""
_PIECE = 1 << 20
_LEVEL = 9
_GOOD = 64
"""A predictor is good enough, without a look at the others, at one byte for so many."""


class TooMuch(ValueError):
    """The notes of a file would not be small, or it is no gzip file."""


def available() -> bool:
    """Whether numba is installed (the extra `deflate`). Imports nothing."""
    return importlib.util.find_spec("numba") is not None


def take_apart(fds: list[int]) -> None:
    """In a worker: write the notes of a gzip file, the second, to the first; or `TooMuch`."""
    import zstandard

    from naru.store.deflate import notes
    from naru.store.deflate.analysis import Analysis, NotDeflate

    with open(fds[0], "wb") as out, open(fds[1], "rb", buffering=0) as source:
        size = os.fstat(source.fileno()).st_size
        predictor = best(source.read(_SAMPLE))
        source.seek(0)
        counted = _Counted(out)
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        with compressor.stream_writer(cast(BinaryIO, counted), closefd=False) as packed:
            notes.begin(packed, predictor)

            def tell(note: notes.Note) -> None:
                packed.write(note.packed())
                seen = size if analysis.taken < _EARLY else analysis.taken
                if counted.size * SHARE > seen:
                    raise TooMuch("what the plain bytes do not tell is too much")

            analysis = Analysis(source, predictor, tell)
            try:
                analysis.run()
            except NotDeflate as error:
                raise TooMuch(str(error)) from None
        if counted.size * SHARE > size:
            raise TooMuch("what the plain bytes do not tell is too much")


def best(sample: bytes) -> str:
    """The predictor that is right most often about the beginning of the file."""
    from naru.store.deflate.analysis import Analysis, NotDeflate
    from naru.store.deflate.matchers import PREDICTORS
    from naru.store.deflate.notes import RAW, Note

    found: dict[str, float] = {}
    for name in PREDICTORS:
        corrected = 0

        def tell(note: Note) -> None:
            nonlocal corrected
            corrected += len(note.corrections) if note.kind != RAW else 0

        analysis = Analysis(io.BytesIO(sample), name, tell)
        with suppress(NotDeflate):  # its end is missing, of course
            analysis.run()
        found[name] = corrected
        if corrected * _GOOD <= analysis.taken:
            break
    return min(found, key=found.__getitem__)


def remake(fds: list[int]) -> None:
    """In a worker: write the file to the first, by the plain bytes of the second and the notes of
    the third."""
    import zstandard

    from naru.store.deflate.notes import Reader
    from naru.store.deflate.rebuild import rebuild

    with (
        open(fds[0], "wb", buffering=0) as out,
        open(fds[1], "rb", buffering=0) as plain,
        open(fds[2], "rb", buffering=0) as notes,
    ):
        inflated = zstandard.ZstdDecompressor().stream_reader(notes)
        rebuild(Reader(io.BufferedReader(inflated)), plain, _Whole(out))


class Remade:
    """Write the plain bytes, and `out` gets the file, from another thread, until `close`."""

    def __init__(self, workers: Workers, notes: BinaryIO, out: Writable) -> None:
        self._out = out
        self._error: BaseException | None = None
        made, making = os.pipe2(os.O_CLOEXEC)
        fed, feeding = os.pipe2(os.O_CLOEXEC)
        self._made = PipeReader(made)
        self._feeding = open(feeding, "wb", buffering=0)  # noqa: SIM115
        try:
            self._job: Job[None] = workers.begin([making, fed, notes.fileno()], remake)
        except BaseException:
            self._made.close()
            self._feeding.close()
            raise
        finally:
            os.close(making)
            os.close(fed)
        self._thread = threading.Thread(target=self._pass_on, name="remake")
        self._thread.start()

    def write(self, data: bytes, /) -> int:
        with suppress(BrokenPipeError):  # `close` says why
            _Whole(self._feeding).write(data)
        return len(data)

    def close(self) -> None:
        self._feeding.close()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._job.result()

    def end(self) -> None:
        """Leave nothing behind, whatever has become of it. Idempotent."""
        self._job.kill()
        self._feeding.close()
        self._thread.join()
        self._job.close()

    def _pass_on(self) -> None:
        try:
            with self._made as made:
                while piece := made.read(_PIECE):
                    self._out.write(piece)
        except BaseException as error:
            self._error = error


@contextmanager
def remade(workers: Workers, notes: BinaryIO, out: Writable) -> Iterator[Remade]:
    made = Remade(workers, notes, out)
    try:
        yield made
    finally:
        made.end()


class _Counted(io.RawIOBase):
    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self.size += len(view)
        return self._out.write(view)


class _Whole:
    """Whole writes to a pipe, whatever it takes at once."""

    def __init__(self, out: io.FileIO) -> None:
        self._out = out

    def write(self, data: bytes, /) -> int:
        view = memoryview(data)
        while view:
            view = view[self._out.write(view) :]
        return len(data)
