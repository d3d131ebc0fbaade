"""Extraction: what comes out is what went in, and nothing leaves the root. The evil corpus."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from naru.store.extract import Extractor, extract
from naru.store.removal import remove_tree
from naru.store.tarentry import (
    CHARDEV,
    DIRECTORY,
    FIFO,
    HARDLINK,
    SYMLINK,
    Entry,
    ExtractError,
    TarError,
)
from naru.store.tarwriter import TarWriter
from naru.store.whiteouts import DeleteWhiteouts

Member = tuple[Entry, bytes]


def archive(members: Iterable[Entry | Member]) -> io.BytesIO:
    out = io.BytesIO()
    writer = TarWriter(out)
    for member in members:
        entry, data = member if isinstance(member, tuple) else (member, b"")
        entry.size = len(data)
        if entry.uid == entry.gid == 0:
            entry.uid, entry.gid = os.getuid(), os.getgid()
        writer.add(entry, [data])
    writer.close()
    return io.BytesIO(out.getvalue())


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): (
            "->" + os.readlink(path) if path.is_symlink()
            else "dir" if path.is_dir()
            else path.read_text()
        )
        for path in sorted(root.rglob("*"))
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("kept")
    (tmp_path / "outside").mkdir()
    target = tmp_path / "root"
    target.mkdir()
    return target


def test_keeps_modes_times_and_links(root: Path) -> None:
    mtime = 1_600_000_000_123_456_789
    extract(
        archive([
            Entry("d", DIRECTORY, mode=0o1777, mtime=mtime),
            (Entry("d/setuid", mode=0o4755, mtime=mtime), b"data"),
            (Entry("d/new\nline\udcff", mode=0o600), b"n"),
            Entry("d/hard", HARDLINK, linkname="d/setuid"),
            Entry("d/soft", SYMLINK, linkname="/anywhere", mtime=mtime),
            Entry("d/fifo", FIFO, mode=0o622),
            (Entry("implied/parents/file"), b"x"),
        ]),
        root,
    )  # fmt: skip
    status = (root / "d/setuid").stat()
    assert stat.S_IMODE(status.st_mode) == 0o4755
    assert status.st_mtime_ns == mtime
    assert status.st_nlink == 2
    assert (root / "d").stat().st_mtime_ns == mtime
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o1777
    assert os.lstat(root / "d/soft").st_mtime_ns == mtime
    assert stat.S_IMODE((root / "d/fifo").stat().st_mode) == 0o622
    assert (root / "d/new\nline\udcff").read_text() == "n"
    assert (root / "implied/parents/file").read_text() == "x"


EVIL: dict[str, list[Entry | Member]] = {
    "dot dot": [(Entry("../secret"), b"evil")],
    "dot dot inside": [(Entry("a/../../../secret"), b"evil")],
    "absolute": [(Entry("/../secret"), b"evil")],
    "link up, then through it": [
        Entry("up", SYMLINK, linkname=".."),
        (Entry("up/secret"), b"evil"),
    ],
    "absolute link, then through it": [
        Entry("abs", SYMLINK, linkname="{base}"),
        (Entry("abs/secret"), b"evil"),
    ],
    "chain of links": [
        Entry("a", SYMLINK, linkname="b/.."),
        Entry("b", SYMLINK, linkname="../../outside"),
        (Entry("a/secret"), b"evil"),
    ],
    "overwrite through a link": [
        Entry("f", SYMLINK, linkname="../secret"),
        (Entry("f"), b"evil"),
    ],
    "hard link out": [
        Entry("h", HARDLINK, linkname="../secret"),
        (Entry("h"), b"evil"),
    ],
    "hard link through a link": [
        Entry("up", SYMLINK, linkname=".."),
        Entry("h", HARDLINK, linkname="up/secret"),
        (Entry("h"), b"evil"),
    ],
    "hard link to a link": [
        Entry("l", SYMLINK, linkname="../secret"),
        Entry("h", HARDLINK, linkname="l"),
        (Entry("h"), b"evil"),
    ],
    "directory over a link": [
        Entry("o", SYMLINK, linkname="../outside"),
        Entry("o", DIRECTORY, mode=0o777),
        (Entry("o/file"), b"evil"),
    ],
    "whiteout through a link": [
        Entry("up", SYMLINK, linkname=".."),
        Entry("up/.wh.secret"),
    ],
    "whiteout of dot dot": [Entry("a/.wh..."), Entry(".wh.."), Entry(".wh.")],
    "opaque through a link": [
        Entry("up", SYMLINK, linkname=".."),
        Entry("up/.wh..wh..opq"),
    ],
    "magic link": [
        Entry("proc", SYMLINK, linkname="/proc/self/root"),
        (Entry("proc/secret"), b"evil"),
    ],
    "replaced while open": [
        Entry("d", DIRECTORY, mode=0o755),
        (Entry("d/x"), b"1"),
        Entry("d", SYMLINK, linkname="../outside"),
        (Entry("d/x"), b"evil"),
    ],
    "endless path": [(Entry("a/" * 5000 + "f"), b"evil")],
    "deep path": [(Entry("a/" * 1500 + "f"), b"evil")],
    "long component": [(Entry("n" * 300), b"evil")],
}


@pytest.mark.parametrize("name", EVIL)
def test_nothing_leaves_the_root(name: str, root: Path) -> None:
    base = root.parent
    members = []
    for member in EVIL[name]:
        entry, data = member if isinstance(member, tuple) else (member, b"")
        copy = Entry(entry.name, entry.kind, mode=entry.mode,
                     linkname=entry.linkname.format(base=base))  # fmt: skip
        members.append((copy, data))
    with contextlib.suppress(ExtractError):
        extract(archive(members), root, whiteouts=DeleteWhiteouts())
    assert (base / "secret").read_text() == "kept"
    assert os.listdir(base / "outside") == []
    assert sorted(os.listdir(base)) == ["outside", "root", "secret"]
    remove_tree(root)  # pytest's own way cannot delete what is this deep
    assert not root.exists()


def test_links_lead_where_they_would_in_the_container(root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    extract(
        archive([Entry("lib", SYMLINK, linkname="/usr/lib"), (Entry("lib/libc.so"), b"so")]), root
    )
    assert (root / "usr/lib/libc.so").read_text() == "so"


def test_the_last_of_several_wins(root: Path) -> None:
    extract(
        archive([
            (Entry("f"), b"first"),
            (Entry("f"), b"second"),
            Entry("t", DIRECTORY, mode=0o755),
            (Entry("t/inside"), b"gone"),
            (Entry("t"), b"file now"),
            (Entry("u"), b"file"),
            Entry("u", DIRECTORY, mode=0o755),
            (Entry("u/inside"), b"there"),
        ]),
        root,
    )  # fmt: skip
    assert tree(root) == {"f": "second", "t": "file now", "u": "dir", "u/inside": "there"}


def test_whiteouts_hide_the_layers_below_only(root: Path) -> None:
    for path in ("gone", "both", "opaque/old", "deep/dir/old", "deep/dir/older"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("below")
    extract(
        archive([
            Entry(".wh.gone"),
            (Entry("both"), b"new"),
            Entry(".wh.both"),
            (Entry("opaque/new"), b"new"),
            Entry("opaque/.wh..wh..opq"),
            Entry("deep/.wh.dir"),
            Entry("deep/dir", DIRECTORY, mode=0o755),
            (Entry("deep/dir/new"), b"new"),
            Entry(".wh.never"),
            Entry(".wh..wh.plnk"),
        ]),
        root,
        whiteouts=DeleteWhiteouts(),
    )  # fmt: skip
    assert tree(root) == {
        "both": "new", "deep": "dir", "deep/dir": "dir", "deep/dir/new": "new",
        "opaque": "dir", "opaque/new": "new",
    }  # fmt: skip


def test_without_a_policy_whiteouts_are_files(root: Path) -> None:
    extract(archive([Entry(".wh.x")]), root)
    assert os.listdir(root) == [".wh.x"]


def test_a_huge_sparse_file_takes_no_space(root: Path) -> None:
    records = (
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n37 GNU.sparse.realsize=1099511627776\n"
    )
    records += b"25 GNU.sparse.name=holes\n"
    writer = TarWriter(io.BytesIO())
    header = bytearray(writer.header(Entry("ext", "x")))
    header[124:136] = b"%011o\0" % len(records)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = b"1\n0\n4\n".ljust(512, b"\0") + b"data"
    body = writer.header(Entry("real", size=len(data), uid=os.getuid(), gid=os.getgid()))
    tar = bytes(header) + records.ljust(512, b"\0") + body + data.ljust(1024, b"\0") + bytes(1024)
    extract(io.BytesIO(tar), root)
    status = (root / "holes").stat()
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("change", [
    lambda e: setattr(e, "devmajor", 1 << 40) or setattr(e, "kind", CHARDEV),
    lambda e: setattr(e, "uid", 1 << 60),
    lambda e: setattr(e, "kind", "Z"),
])  # fmt: skip
def test_absurd_members_are_named_errors(change: Callable[[Entry], None], root: Path) -> None:
    entry = Entry("odd-one", uid=os.getuid(), gid=os.getgid())
    change(entry)
    if entry.uid == 1 << 60 and os.geteuid() != 0:
        pytest.skip("owners are not set without root")
    if entry.kind == CHARDEV:
        entry.devmajor = 0o7777777  # the most that fits the header
    with pytest.raises((ExtractError, TarError), match="odd-one"):
        extract(archive([entry]), root)


def test_the_cache_of_directories_is_bounded(root: Path) -> None:
    members: list[Member] = [(Entry(f"d{i}/f"), b"x") for i in range(600)]
    with Extractor(root) as extractor:
        extractor.extract(archive(members))
        assert len(os.listdir("/proc/self/fd")) < 400
    assert len(os.listdir(root)) == 600


def test_the_root_has_attributes_of_its_own(root: Path) -> None:
    extract(archive([Entry("./", DIRECTORY, mode=0o1750, mtime=10**18), (Entry("f"), b"x")]), root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o1750
    assert root.stat().st_mtime_ns == 10**18


def test_a_directory_that_a_link_to_itself_replaces_is_no_error(root: Path) -> None:
    extract(
        archive([Entry("d/e/f", DIRECTORY, mtime=10**18), Entry("d/e", SYMLINK, linkname="e")]),
        root,
    )
    assert tree(root) == {"d": "dir", "d/e": "->e"}


def test_a_file_in_a_directorys_place_has_its_own_time(root: Path) -> None:
    members = [Entry("d", DIRECTORY, mtime=10**18), (Entry("d", mtime=5 * 10**17), b"x")]
    extract(archive(members), root)
    assert (root / "d").stat().st_mtime_ns == 5 * 10**17


def test_hiding_a_name_does_not_hide_what_its_link_leads_to(root: Path) -> None:
    members = [(Entry("kept/file"), b"x"), Entry("link", SYMLINK, linkname="kept")]
    (root / "kept").mkdir()
    (root / "kept/older").write_text("y")
    extract(archive([*members, Entry(".wh.link")]), root, whiteouts=DeleteWhiteouts())
    assert tree(root) == {
        "kept": "dir", "kept/file": "x", "kept/older": "y", "link": "->kept",
    }  # fmt: skip


def test_sizes_are_those_that_docker_counts(root: Path) -> None:
    members = [
        (Entry("file"), b"x" * 1000),
        Entry("again", HARDLINK, linkname="file"),
        Entry("link", SYMLINK, linkname="somewhere/else"),
        Entry("pipe", FIFO),
        Entry("directory", DIRECTORY),
    ]
    assert extract(archive(members), root) == 1000 + len("somewhere/else")


def test_holes_count_as_docker_counts_them(root: Path) -> None:
    sparse = root.parent / "sparse"
    with sparse.open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(1 << 20)
    tar = subprocess.run(
        ["tar", "-C", root.parent, "--sparse", "--format=pax", "-c", "sparse"],
        check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    assert len(tar) < 100_000
    assert extract(io.BytesIO(tar), root) == 1 << 20
    assert (root / "sparse").stat().st_blocks * 512 < 100_000
