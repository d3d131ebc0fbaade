"""The supervisor's files: one JSON document for each start, process and exit (see `main`).

A full disk must not end the containers' keeper: what cannot be written is complained of.
"""

from __future__ import annotations

import contextlib
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Json

_KINDS = ("starts", "pids", "exits")


class Records:
    """`kind` is starts, pids or exits."""

    def __init__(self, root: str) -> None:
        self._root = root

    def make_directories(self) -> None:
        for kind in _KINDS:
            os.makedirs(os.path.join(self._root, kind), mode=0o700, exist_ok=True)

    def remove_half_written(self) -> None:
        for kind in _KINDS:
            for name in self.names(kind):
                if name.endswith("~"):
                    self.remove(kind, name)

    def names(self, kind: str) -> list[str]:
        return os.listdir(os.path.join(self._root, kind))

    def has(self, kind: str, name: str) -> bool:
        return os.path.exists(self._path(kind, name))

    def read(self, kind: str, name: str) -> Json:
        value: Json = json.loads(read(self._path(kind, name)))
        return value

    def write(self, kind: str, name: str, value: Json) -> None:
        """Appears complete or not at all."""
        path = self._path(kind, name)
        try:
            with open(path + "~", "w") as file:
                json.dump(value, file)
            os.rename(path + "~", path)
        except OSError as error:
            complain(f"writing {path}: {error}")
            remove(path + "~")

    def remove(self, kind: str, name: str) -> None:
        remove(self._path(kind, name))

    def _path(self, kind: str, name: str) -> str:
        return os.path.join(self._root, kind, name)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def complain(text: str) -> None:
    """Into our log, if there is room for it."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
