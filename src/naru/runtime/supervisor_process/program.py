"""How this program is executed, which version of it runs, and the state that it hands over.

The daemon imports this to launch a supervisor and to see whether one is to be upgraded; what is
handed over must be understood by the versions before and after.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False  # typing itself costs memory, and only the checker needs it
if TYPE_CHECKING:
    from .wire import Json

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
_STATE = "NARU_SUPERVISOR_STATE"  # environment: the memfd of a handed-over state


def command(root: str, hidden_mount: str | None = None) -> list[str]:
    """How to run this program: imported, as a script would be compiled at each start, and the
    compiler's memory (1.4 MB) stays. `hidden_mount`: one that the runtimes must not see."""
    above, package = os.path.split(DIRECTORY)
    start = f"import sys; sys.path.append({above!r}); from {package}.main import main; main()"
    options = [] if hidden_mount is None else [hidden_mount]
    return [sys.executable, "-I", "-S", "-c", start, root, *options]


def identity() -> list[str | int]:
    """Of the files as they are now: where they lie, and name, size and time of each."""
    found: list[str | int] = [DIRECTORY]
    for name in sorted(os.listdir(DIRECTORY)):
        if name.endswith(".py"):
            info = os.stat(os.path.join(DIRECTORY, name))
            found += [name, info.st_size, info.st_mtime_ns]
    return found


def execute(argv: list[str], state: Json) -> None:
    """Become `argv`, which finds `state` by `handed_over`, or raise `OSError`."""
    memfd = os.memfd_create("naru-supervisor-state", 0)
    with open(memfd, "w", closefd=False) as file:
        json.dump(state, file)
    os.lseek(memfd, 0, os.SEEK_SET)
    try:
        os.execve(argv[0], argv, {**os.environ, _STATE: str(memfd)})
    finally:
        os.close(memfd)


def handed_over() -> Json | None:
    """What `execute` was given; None in a process that was started by somebody else."""
    memfd = os.environ.pop(_STATE, None)
    if memfd is None:
        return None
    with open(int(memfd)) as file:
        state: Json = json.load(file)
    return state
