"""The new mount API: a file system is configured option by option, without a page's limit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from naru.kernel.syscalls import syscall

_FSOPEN, _FSCONFIG, _FSMOUNT, _MOVE_MOUNT = 430, 431, 432, 429
_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_MOVE_EMPTY_PATH = 4
_ATTRIBUTES = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 0x10, "nodiratime": 0x80}
"""MOUNT_ATTR_*, by mount(8)'s words."""


def mount_by_context(
    kind: str,
    source: str,
    target: Path,
    *,
    options: Sequence[tuple[str, str | None]],
    attributes: Sequence[str] = (),
    read_only: bool = False,
) -> None:
    """fsopen(2), one fsconfig(2) per option, fsmount(2), move_mount(2). A flag's value is None.

    An `OSError` carries what the kernel says about the failure.
    """
    context = syscall(_FSOPEN, os.fsencode(kind), _CLOEXEC, what=f"fsopen {kind}")
    try:
        _configure(context, _SET_STRING, "source", source or "none")
        for key, value in options:
            _configure(context, _SET_FLAG if value is None else _SET_STRING, key, value or "")
        if read_only:
            _configure(context, _SET_FLAG, "ro", "")
        _configure(context, _CREATE, "", "")
        bits = sum(_ATTRIBUTES[name] for name in attributes)
        mounted = syscall(_FSMOUNT, context, _CLOEXEC, bits, what="fsmount")
    finally:
        os.close(context)
    try:
        place = os.fsencode(target)
        syscall(_MOVE_MOUNT, mounted, b"", -100, place, _MOVE_EMPTY_PATH, what="move_mount")
    finally:
        os.close(mounted)


def _configure(context: int, command: int, key: str, value: str) -> None:
    name = key.encode() if key else None
    text = os.fsencode(value) if command == _SET_STRING else None
    try:
        syscall(_FSCONFIG, context, command, name, text, 0, what=f"fsconfig {key or 'create'}")
    except OSError as error:
        why = _messages(context)
        raise OSError(error.errno, f"{error.strerror}: {why}" if why else error.strerror) from None


def _messages(context: int) -> str:
    """What the kernel says about the failure: a context's file gives one message a read."""
    found: list[str] = []
    while True:
        try:
            message = os.read(context, 4096)
        except OSError:
            return "; ".join(found)
        found.append(message.decode(errors="replace").strip().removeprefix("e "))
