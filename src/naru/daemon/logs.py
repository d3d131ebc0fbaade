"""The daemon's own log, in the forms that dockerd's users and their tools know (logrus).

A terminal gets `INFO[2026-11-24T11:16:28.123456789Z] text`, a pipe gets
`time="..." level=info msg="..."`, and `--log-format json` one JSON object a line.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

_NAMES = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error"}
_NAMES["CRITICAL"] = "fatal"
_SHORT = {"debug": "DEBU", "info": "INFO", "warning": "WARN", "error": "ERRO", "fatal": "FATA"}
_COLOURS = {"debug": 37, "info": 36, "warning": 33, "error": 31, "fatal": 31}
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


def configure(
    *, level: str, form: str = "text", raw: bool = False, stream: TextIO | None = None
) -> None:
    """Send all of the daemon's log to `stream` (stderr); replaces an earlier configuration."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    if form == "json":
        handler.setFormatter(JsonLines())
    elif out.isatty() and not raw:
        handler.setFormatter(Terminal())
    else:
        handler.setFormatter(KeyValues())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # `logging` looks these up for every record; nobody here reads them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    set_level(level)


def set_level(level: str) -> None:
    logging.getLogger().setLevel(_LEVELS[level])
    # asyncio's debug chatter is about selectors, not about containers.
    logging.getLogger("asyncio").setLevel(max(_LEVELS[level], logging.INFO))


def timestamp(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC with nine digits, as Go prints it."""
    nanoseconds = int(record.created * 1_000_000_000)
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"


class _Form(logging.Formatter):
    def message(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        return text


class Terminal(_Form):
    def format(self, record: logging.LogRecord) -> str:
        level = _NAMES[record.levelname]
        head = f"\x1b[{_COLOURS[level]}m{_SHORT[level]}\x1b[0m"
        return f"{head}[{timestamp(record)}] {self.message(record)}"


class KeyValues(_Form):
    def format(self, record: logging.LogRecord) -> str:
        text = json.dumps(self.message(record), ensure_ascii=False)
        return f'time="{timestamp(record)}" level={_NAMES[record.levelname]} msg={text}'


class JsonLines(_Form):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": _NAMES[record.levelname],
            "msg": self.message(record),
            "time": timestamp(record),
        }
        return json.dumps(line, ensure_ascii=False)
