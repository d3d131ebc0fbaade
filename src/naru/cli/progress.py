"""Progress of pull, push and load: one line per layer on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from naru.cli.failures import CliError
from naru.cli.jsontext import loads
from naru.cli.units import human_size4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO


def bar(detail: dict[str, Any], columns: int, now: float) -> str:
    """The bar and numbers of one progress detail: `[=====>      ]  1.5MB/3MB`."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if current <= 0 and total <= 0:
        return ""
    units = detail.get("units") or ""
    if total <= 0:
        return f"{current} {units}" if units else f"{human_size4(current):>8}"
    percent = min(int(current / total * 100) // 2, 50)
    drawn = ""
    if columns > 110:
        drawn = "[" + "=" * percent + ">" + " " * max(0, 50 - percent) + "] "
    if detail.get("hidecounts"):
        numbers = ""
    elif units:
        numbers = f"{current}/{total} {units}"
    else:
        numbers = f"{human_size4(current):>8}/{human_size4(total)}"
        if current > total:
            numbers = f"{human_size4(current):>8}"
    left = ""
    start = detail.get("start") or 0
    if current > 0 and start > 0 and percent < 50 and columns > 50:
        spent = now - start
        left = f" {int(spent / current * (total - current))}s"
    return drawn + numbers + left


class Progress:
    """Renders the daemon's JSON messages; raises CliError for the message that carries an error."""

    def __init__(self, out: TextIO, *, terminal: bool, columns: int = 80) -> None:
        self._out = out
        self._terminal = terminal
        self._columns = columns
        self._lines: dict[str, int] = {}

    def show(self, messages: Iterable[bytes], aux: Callable[[Any], None] | None = None) -> None:
        for text in messages:
            self.message(loads(text), aux)
        self._out.flush()

    def message(self, message: dict[str, Any], aux: Callable[[Any], None] | None = None) -> None:
        if message.get("aux") is not None:
            if aux is not None:
                aux(message["aux"])
            return
        if "errorDetail" in message or message.get("error"):
            detail = message.get("errorDetail") or {}
            self._out.flush()
            raise CliError(
                str(detail.get("message") or message.get("error")), detail.get("code") or 1
            )
        identifier = str(message.get("id") or "")
        up = 0
        if identifier and ("progressDetail" in message or message.get("progress")):
            if identifier not in self._lines:
                self._lines[identifier] = len(self._lines)
                if self._terminal:
                    self._out.write("\n")
            up = len(self._lines) - self._lines[identifier]
        else:
            # what has no line of its own starts a new block below
            self._lines.clear()
        if up and self._terminal:
            self._out.write(f"\x1b[{up}A")
        self._line(message, identifier)
        if up and self._terminal:
            self._out.write(f"\x1b[{up}B")
        if self._terminal:
            self._out.flush()

    def _line(self, message: dict[str, Any], identifier: str) -> None:
        detail = message.get("progressDetail")
        shown = bar(detail, self._columns, time.time()) if detail else ""
        stream = message.get("stream")
        end = ""
        if self._terminal and not stream and detail is not None:
            self._out.write("\x1b[2K\r")
            end = "\r"
        elif shown:
            return  # a plain log shows states, not each step
        if message.get("time") or message.get("timeNano"):
            from naru.cli.times import rfc3339_local

            nano = message.get("timeNano") or message["time"] * 1_000_000_000
            self._out.write(rfc3339_local(nano // 1_000_000_000, nano % 1_000_000_000) + " ")
        if identifier:
            self._out.write(f"{identifier}: ")
        if message.get("from"):
            self._out.write(f"(from {message['from']}) ")
        status = message.get("status", "")
        if detail is not None and self._terminal:
            self._out.write(f"{status} {shown}{end}")
        elif message.get("progress"):
            self._out.write(f"{status} {message['progress']}{end}")
        elif stream:
            self._out.write(f"{stream}{end}")
        else:
            self._out.write(f"{status}{end}\n")


def progress_to(out: TextIO) -> Progress:
    """A Progress that knows what it writes to."""
    from naru.cli.terminal import size

    terminal = out.isatty()
    return Progress(out, terminal=terminal, columns=size(out.fileno())[1] if terminal else 200)
