"""The client's side of `cp`: trees into tars and out of them, and nothing anywhere else."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.cli.failures import CliError
from naru.cli.tarcopy import StreamFile, pack, unpack


def packed(source: Path | str, name: str, *, owners: bool = False) -> bytes:
    out = io.BytesIO()
    assert pack(str(source), name, out, owners=owners) == len(out.getvalue())
    return out.getvalue()


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    yield from (data[at : at + size] for at in range(0, len(data), size))


def tree(root: Path) -> Path:
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "file").write_bytes(b"x" * 5000)
    (root / "empty").touch(mode=0o640)
    os.link(root / "empty", root / "linked")
    (root / "to").symlink_to("/outside")
    os.mkfifo(root / "pipe")
    os.chmod(root / "deep", 0o750)
    for name in ("deep/er/file", "empty", "deep"):
        os.utime(root / name, ns=(1, 1_700_000_000_123_456_789))
    return root


def told(root: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        data = os.readlink(path).encode() if path.is_symlink() else b""
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else data
        changed = 0 if path.is_symlink() or path.is_fifo() else status.st_mtime_ns
        found[str(path.relative_to(root))] = (status.st_mode, changed, data)
    return found


@pytest.mark.parametrize(("rename", "where"), [("new", "new"), ("", "")])
def test_a_tree_there_and_back(tmp_path: Path, rename: str, where: str) -> None:
    source = tree(tmp_path / "source")
    out = tmp_path / "out"
    out.mkdir()
    stream = StreamFile(pieces(packed(source, "old")))
    unpack(stream, str(out), rename=("old", rename), owners=False)
    expected = told(source)
    assert told(out / where) == expected
    assert (out / where / "empty").samefile(out / where / "linked")
    assert stream.count >= 5000 + 6 * 512
    assert (out / where).stat().st_mode == source.stat().st_mode


def test_contents_alone_are_named_so(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    with tarfile.open(fileobj=io.BytesIO(packed(f"{source}/.", "."))) as tar:
        assert sorted(tar.getnames())[:3] == [".", "./deep", "./deep/er"]


def test_owners_are_roots_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    if os.geteuid() == 0:
        os.chown(tmp_path / "file", 12, 34)
    status = (tmp_path / "file").stat()
    for owners, expected in ((False, (0, 0)), (True, (status.st_uid, status.st_gid))):
        data = packed(tmp_path / "file", "file", owners=owners)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            [member] = tar.getmembers()
        assert (member.uid, member.gid) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_comes_belongs_to_whom_is_asked_for(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    for name in (".", "deep", "deep/er/file", "to"):
        os.chown(source / name, 12, 34, follow_symlinks=False)
    data = packed(source, "old", owners=True)
    for owners, expected in ((False, (0, 0)), (True, (12, 34))):
        out = tmp_path / str(owners)
        out.mkdir()
        os.chown(out, 5, 6)
        unpack(StreamFile(pieces(data)), str(out), rename=("old", "new"), owners=owners)
        for name in ("", "deep", "deep/er/file", "to"):
            status = (out / "new" / name).lstat()
            assert (status.st_uid, status.st_gid) == expected
        # The contents alone leave the directory that they go to its own.
        unpack(StreamFile(pieces(data)), str(out), rename=("old", ""), owners=False)
        assert (out.stat().st_uid, out.stat().st_gid) == (5, 6)


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """(name, type, what it links to)"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [("old/../../evil", tarfile.REGTYPE, "")],
        [("old", tarfile.SYMTYPE, "{outside}"), ("old/evil", tarfile.REGTYPE, "")],
        [("old", tarfile.DIRTYPE, ""), ("old/l", tarfile.SYMTYPE, "../../.."),
         ("old/l/evil", tarfile.REGTYPE, "")],
        [("old", tarfile.DIRTYPE, ""), ("old/evil", tarfile.LNKTYPE, "{outside}/secret")],
    ],
)  # fmt: skip
def test_nothing_leaves_the_target(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    outside, target = tmp_path / "outside", tmp_path / "a" / "b" / "c"
    outside.mkdir()
    target.mkdir(parents=True)
    (outside / "secret").write_text("secret")
    data = archive(*((n, k, link.format(outside=outside)) for n, k, link in members))
    with contextlib.suppress(CliError):
        unpack(StreamFile(pieces(data)), str(target), rename=("old", "new"), owners=False)
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert not [path for path in tmp_path.rglob("evil") if target not in path.parents]
    assert (outside / "secret").stat().st_nlink == 1


def test_kinds_are_kept_and_the_error_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x").mkdir()
    data = archive(("old", tarfile.DIRTYPE, ""), ("old/x", tarfile.REGTYPE, ""))
    with pytest.raises(CliError, match='cannot overwrite directory "new/x" with non-directory'):
        unpack(StreamFile(pieces(data)), str(tmp_path), rename=("old", "new"), owners=False)
    with pytest.raises(CliError, match="invalid tar header"):
        unpack(StreamFile(pieces(b"no tar" * 200)), str(tmp_path), rename=("a", "b"), owners=False)


def test_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pack(str(tmp_path / "none"), "none", io.BytesIO(), owners=False)
