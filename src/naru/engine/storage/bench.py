"""`naru storage bench`: the storage drivers of this machine, compared on the daemon's own disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from naru.engine.images.progress import Message, status
from naru.engine.storage.figures import Figures, report
from naru.engine.storage.plot import plot
from naru.kernel import mounts
from naru.spec.errors import Conflict, InternalError, InvalidParameter
from naru.store.choice import known
from naru.store.mounting import unmount_all
from naru.store.removal import remove_tree

_PREFIX = ".bench-"
_SECONDS, _QUICK_SECONDS = 180, 20
_GRACE = 120  # for what is prepared before, and removed behind the measuring
_ROUNDS, _QUICK_ROUNDS = 7, 2
_SMALL, _QUICK_SMALL = 10_000, 1_000
_LARGE, _QUICK_LARGE = 256 << 20, 32 << 20
_LEAST = 1 << 20
_SPARE = 256 << 20
_COPIES = 4  # of the large file that a driver may have at once
_NOT_BY_ITSELF = ("devicemapper",)  # it makes a pool of a hundred gigabytes first
_LINE = 1 << 20


class StorageBench:
    def __init__(self, *, data_root: Path) -> None:
        self._root = data_root
        self._busy = False

    async def __call__(
        self, *, drivers: Sequence[str] = (), large: int = 0, quick: bool = False
    ) -> AsyncIterator[Message]:
        """Progress, then one message with `aux`: `Figures`, `Text` and `Svg`.

        Whoever hangs up ends it.
        """
        unknown = [name for name in drivers if name not in known()]
        if unknown:
            raise InvalidParameter(
                f"no such storage driver: {', '.join(unknown)} (known: {', '.join(known())})"
            )
        large = large or (_QUICK_LARGE if quick else _LARGE)
        if large < _LEAST:
            raise InvalidParameter(f"size: the large file has at least {_LEAST} bytes")
        free = shutil.disk_usage(self._root).free
        chosen = list(drivers) or [name for name in known() if name not in _NOT_BY_ITSELF]
        if large * _COPIES * len(chosen) + _SPARE > free:
            raise Conflict("not enough disk space to compare the drivers: choose a smaller --size")
        if self._busy:
            raise Conflict("a benchmark of the storage drivers is under way")
        self._busy = True
        try:
            async for message in self._run(chosen, large, quick):
                yield message
        finally:
            self._busy = False

    async def _run(self, drivers: Sequence[str], large: int, quick: bool) -> AsyncIterator[Message]:
        await asyncio.to_thread(self._clean)
        scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
        seconds = _QUICK_SECONDS if quick else _SECONDS
        yield status(f"Comparing {', '.join(drivers)}")
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "naru.engine.storage.bench_main", str(scratch), str(large),
                str(_QUICK_SMALL if quick else _SMALL), str(_QUICK_ROUNDS if quick else _ROUNDS),
                str(seconds), *drivers,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=_LINE,
            )  # fmt: skip
            try:
                async with asyncio.timeout(seconds + _GRACE):
                    assert process.stdout is not None
                    async for line in process.stdout:
                        yield _finished(line)
                    if await process.wait():
                        raise InternalError(
                            f"the benchmark ended with status {process.returncode}: see the log"
                        )
            except TimeoutError:
                raise InternalError(
                    f"the benchmark took longer than {seconds + _GRACE} s"
                ) from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        finally:
            await asyncio.shield(asyncio.to_thread(self._clean))

    def _clean(self) -> None:
        """Take away what a benchmark has left that was killed."""
        for scratch in self._root.glob(f"{_PREFIX}*"):
            for target in mounts.mounts_below(scratch):
                unmount_all(target)
            remove_tree(scratch)


def _finished(line: bytes) -> Message:
    message: Message = msgspec.json.decode(line)
    if "aux" not in message:
        return message
    figures = msgspec.convert(message["aux"], Figures)
    return {"aux": {"Figures": message["aux"], "Text": report(figures), "Svg": plot(figures)}}
