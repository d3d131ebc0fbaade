"""Where every thread and every task is right now (SIGUSR1), for a daemon that seems stuck."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import time
import traceback
from pathlib import Path


def dump(directory: Path) -> Path:
    """Write `stacks-<time>.log` into `directory` and return its path."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, ident)}:\n")
        out.writelines(traceback.format_stack(frame))
        out.write("\n")
    for task in asyncio.all_tasks():
        out.write(f"task {task.get_name()}:\n")
        task.print_stack(file=out)
        out.write("\n")
    path = directory / f"stacks-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.log"
    path.write_text(out.getvalue())
    return path
