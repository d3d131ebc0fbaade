"""Who a container's process runs as: names of `USER` looked up in the image's own files.

`resolve` is pure; `read_accounts` reads the two files without leaving the container's root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from naru.kernel.inroot import open_in_root
from naru.spec.errors import InvalidParameter

_MAX_ID = 2**31 - 1
_MAX_FILE = 8 << 20


class Accounts(msgspec.Struct, frozen=True):
    """The text of a root's /etc/passwd and /etc/group; "" where there is none."""

    passwd: str = ""
    group: str = ""


class User(msgspec.Struct, frozen=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()  # the supplementary ones, the primary first, as dockerd does
    home: str = "/"


def read_accounts(rootfs: Path) -> Accounts:
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return Accounts(_read(root, "etc/passwd"), _read(root, "etc/group"))
    finally:
        os.close(root)


def _read(root: int, path: str) -> str:
    try:
        # O_NONBLOCK: an image may put a FIFO there, and opening it must not hang.
        file = open_in_root(root, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENXIO):
            return ""
        raise
    with os.fdopen(file, "rb") as content:
        return content.read(_MAX_FILE).decode(errors="surrogateescape")


def resolve(user: str, group_add: Sequence[str], accounts: Accounts) -> User:
    """`user` is "", "name", "uid", each with ":group" or ":gid"."""
    name, _, group = user.partition(":")
    entry = _passwd_entry(name or "0", accounts.passwd)
    uid, gid, home, login = 0, 0, "/", ""
    if entry is not None:
        login, uid, gid, home = entry
    elif name.isdigit():
        uid = _checked_id(name)
    elif name:
        raise InvalidParameter(f"unable to find user {name}: no matching entries in passwd file")
    groups: list[int] = []
    if group:
        gid = _group_id(group, accounts.group)
    elif login:
        groups = [
            number
            for _, number, members in _groups(accounts.group)
            if login in members and number != gid
        ]
    added = [_group_id(each, accounts.group) for each in group_add]
    everything = dict.fromkeys([gid, *groups, *added])
    return User(uid=uid, gid=gid, groups=tuple(everything), home=home or "/")


def _passwd_entry(name: str, passwd: str) -> tuple[str, int, int, str] | None:
    """By name first, then by number, as dockerd looks it up."""
    by_number = None
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) < 6 or not fields[2].isdigit() or not fields[3].isdigit():
            continue
        entry = (fields[0], int(fields[2]), int(fields[3]), fields[5])
        if fields[0] == name:
            return entry
        if by_number is None and name.isdigit() and int(fields[2]) == int(name):
            by_number = entry
    return by_number


def _groups(group: str) -> Iterable[tuple[str, int, list[str]]]:
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[2].isdigit():
            members = fields[3].split(",") if len(fields) > 3 else []
            yield fields[0], int(fields[2]), members


def _group_id(name: str, group: str) -> int:
    for entry, number, _ in _groups(group):
        if entry == name:
            return number
    if name.isdigit():
        return _checked_id(name)
    raise InvalidParameter(f"unable to find group {name}: no matching entries in group file")


def _checked_id(text: str) -> int:
    if int(text) > _MAX_ID:
        raise InvalidParameter(f"uids and gids must be in range 0-{_MAX_ID}")
    return int(text)
