"""What is known of each exec, in memory and in small files that outlive the daemon."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from naru.engine.containers.exec_record import ExecRecord
from naru.spec.errors import no_such_exec

log = logging.getLogger(__name__)

_KEPT_SECONDS: Final = 300
"""How long the exit code of an exec can be asked for; dockerd forgets after five minutes, too."""


class ExecStore:
    """`root` is under the exec root: after a reboot no exec exists any more."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._records: dict[str, ExecRecord] = {}

    def load(self) -> None:
        """Blocking; at the daemon's start."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half_written in self._root.glob("*.new"):
            half_written.unlink(missing_ok=True)
        for path in self._root.glob("*.json"):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=ExecRecord)
            except msgspec.MsgspecError:
                path.unlink(missing_ok=True)  # half written when the daemon was killed
                continue
            self._records[record.id] = record

    def find(self, exec_id: str) -> ExecRecord | None:
        return self._records.get(exec_id)

    def get(self, exec_id: str) -> ExecRecord:
        record = self.find(exec_id)
        if record is None:
            raise no_such_exec(exec_id)
        return record

    def of_container(self, container_id: str) -> list[ExecRecord]:
        return [each for each in self._records.values() if each.container_id == container_id]

    def all(self) -> list[ExecRecord]:
        return list(self._records.values())

    def save(self, record: ExecRecord) -> ExecRecord:
        # A file of some hundred bytes in memory (tmpfs): not worth a change of threads.
        self._records[record.id] = record
        path = self._root / f"{record.id}.json"
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(record))
            os.replace(temporary, path)
        except OSError as error:  # it lives on in memory; only a next daemon would miss it
            log.warning("cannot write %s: %s", path, error)
        return record

    def forget(self, record: ExecRecord) -> None:
        self._records.pop(record.id, None)
        with contextlib.suppress(FileNotFoundError):
            (self._root / f"{record.id}.json").unlink()

    def forget_old(self) -> None:
        before = time.time_ns() - _KEPT_SECONDS * 10**9
        for record in self.all():
            if record.exit_code is not None and record.ended_at < before:
                self.forget(record)
