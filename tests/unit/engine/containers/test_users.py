from __future__ import annotations

import os
from pathlib import Path

import pytest

from naru.engine.containers.users import Accounts, User, read_accounts, resolve
from naru.spec.errors import InvalidParameter

ACCOUNTS = Accounts(
    passwd="root:x:0:0:root:/root:/bin/sh\nbad line\nu:x:1000:1001::/home/u:/bin/sh\n7:x:9:9::/s:\n",
    group="root:x:0:\nteam:x:50:u,root\nug:x:1001:u\nshort:x:60\n",
)


@pytest.mark.parametrize(
    ("user", "add", "expected"),
    [
        ("", [], User(0, 0, (0, 50), "/root")),
        ("u", [], User(1000, 1001, (1001, 50), "/home/u")),
        ("1000", [], User(1000, 1001, (1001, 50), "/home/u")),
        ("u:team", [], User(1000, 50, (50,), "/home/u")),
        ("1234", [], User(1234, 0, (0,), "/")),
        ("1234:55", [], User(1234, 55, (55,), "/")),
        (":team", [], User(0, 50, (50,), "/root")),
        ("u", ["short", "77"], User(1000, 1001, (1001, 50, 60, 77), "/home/u")),
        ("7", [], User(9, 9, (9,), "/s")),
    ],
)
def test_users(user: str, add: list[str], expected: User) -> None:
    assert resolve(user, add, ACCOUNTS) == expected


@pytest.mark.parametrize(
    ("user", "error"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("u:none", "unable to find group none: no matching entries in group file"),
        ("9999999999", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_unknown_users(user: str, error: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        resolve(user, [], ACCOUNTS)
    assert str(raised.value) == error


def test_without_files_numbers_work() -> None:
    assert resolve("", [], Accounts()) == User(0, 0, (0,), "/")


def test_reading_never_leaves_the_root(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    outside.write_text("secret")
    (root / "etc/passwd").symlink_to("../../../outside")
    (root / "etc/group").symlink_to("/real")
    (root / "real").write_text("g:x:1:\n")
    assert read_accounts(root) == Accounts("", "g:x:1:\n")


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    assert read_accounts(tmp_path).passwd == ""
