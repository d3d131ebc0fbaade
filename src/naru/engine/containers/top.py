"""`GET /containers/{id}/top`: the host's `ps`, with only the container's processes kept."""

from __future__ import annotations

import re
import shlex
import shutil

import msgspec

from naru.engine.containers import transitions
from naru.engine.containers.collaborators import Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.kernel import process
from naru.spec.errors import InternalError, InvalidParameter

DEFAULT_ARGUMENTS = "-ef"

_PATH = "/usr/local/bin:/usr/bin:/bin"

# docker's own check: `ps -o pid=` would rename the column that we look for.
_RENAMED_COLUMN = re.compile(r"\s+(\S*)\s*=\s*(PID\S*)")


class Top(msgspec.Struct, frozen=True):
    titles: list[str]
    processes: list[list[str]]


class TopProcesses:
    def __init__(self, *, containers: Containers, runtimes: Runtimes) -> None:
        self._containers = containers
        self._runtimes = runtimes

    async def __call__(self, ref: str, arguments: str = "") -> Top:
        arguments = arguments or DEFAULT_ARGUMENTS
        for found in _RENAMED_COLUMN.finditer(arguments):
            if found[1] != "pid":
                raise InvalidParameter(
                    f'specifying "{found[1]}={found[2]}" is not allowed, use "pid=..." only'
                )
        record = self._containers.find(ref)
        transitions.must_run(record)
        pids = set(await self._runtimes[record.host_config.runtime].pids(record.id))
        top = await self._ps(arguments, pids)
        await self._containers.tell(occurrence(record, "top"))
        return top

    async def _ps(self, arguments: str, pids: set[int]) -> Top:
        program = shutil.which("ps", path=_PATH)
        if program is None:
            raise InternalError('ps: exec: "ps": executable file not found in $PATH')
        argv = [program, *shlex.split(arguments)]
        finished = await process.run(argv, env={"PATH": _PATH})
        if finished.status != 0:
            text = finished.output.decode(errors="replace").strip()
            # The rest is ps's own usage message.
            raise InternalError(f"ps: {text.partition(chr(10))[0]}")
        return parse(finished.output.decode(errors="replace"), pids)


def parse(output: str, pids: set[int]) -> Top:
    """Rows of `ps` whose PID column names one of `pids`; threads that follow one are kept."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InternalError("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows: list[list[str]] = []
    preceding = False
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) <= column:
            continue
        number = fields[column]
        if number == "-":
            if preceding:
                rows.append(fields)
            continue
        if not number.isdigit():
            raise InternalError(f"Unexpected pid '{number}': invalid syntax")
        preceding = int(number) in pids
        if preceding:
            rows.append(fields)
    return Top(titles, rows)
