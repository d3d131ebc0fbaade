"""How a log entry looks to a client of `GET /containers/{id}/logs`. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote_plus

from naru.engine.containers import multiplex
from naru.engine.containers.json_lines import Entry


class LogView(NamedTuple):
    stdout: bool
    stderr: bool
    timestamps: bool = False
    details: bool = False
    mux: bool = True

    def render(self, entry: Entry) -> bytes:
        """What to send for an entry; b"" when its stream is not wanted."""
        if not (self.stdout if entry.stream == "stdout" else self.stderr):
            return b""
        text = entry.log.encode()
        if self.details:
            pairs = sorted((entry.attrs or {}).items())
            details = ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs)
            text = details.encode() + b" " + text
        if self.timestamps:
            text = entry.fixed_time.encode() + b" " + text
        if not self.mux:
            return text
        return multiplex.frame(multiplex.NUMBERS.get(entry.stream, multiplex.STDOUT), text)
