"""The tar reader and writer against Python's own and GNU tar's archives."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from naru.store.tarentry import DIRECTORY, HARDLINK, REGULAR, SYMLINK, Entry, TarError
from naru.store.tarstream import MAX_EXTENSION, TarReader
from naru.store.tarwriter import TarWriter


def _archive(format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, size in (("short", 3), ("d" * 90 + "/" + "f" * 60, 1000), ("é\n" * 70, 0)):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode, info.uid = size, 1700000000, 0o4755, 1000
            tar.addfile(info, io.BytesIO(b"x" * size))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * 150
        tar.addfile(link)
        hard = tarfile.TarInfo("hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, "short"
        tar.addfile(hard)
        folder = tarfile.TarInfo("dir")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    return out.getvalue()


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_python_writes(format: int) -> None:
    reader = TarReader(io.BytesIO(_archive(format)))
    seen = []
    for entry in reader:
        data = b"".join(reader.data()) if entry.name == "short" else b""
        seen.append((entry.name, entry.kind, entry.size, data, entry.linkname))
    assert (
        seen
        == [
            ("short", REGULAR, 3, b"xxx", ""),
            ("d" * 90 + "/" + "f" * 60, REGULAR, 1000, b"", ""),
            ("é\n" * 70, REGULAR, 0, b"", ""),
            ("link", SYMLINK, 0, b"", "t" * 150),
            ("hard", HARDLINK, 0, b"", "short"),
            ("dir", DIRECTORY, 0, b"", ""),
        ]
        or seen[5][0] == "dir/"
    )
    assert reader.offset == len(_archive(format))


def test_python_reads_what_we_write() -> None:
    out = io.BytesIO()
    writer = TarWriter(out)
    entries = [
        Entry("a/" * 120 + "file", size=5, mtime=1_700_000_000_123_456_789, uid=3_000_000),
        Entry("ünï\udcff", size=0, xattrs={"security.capability": b"\0\xff=\n", "user.x": b""}),
        Entry("dir", DIRECTORY, mode=0o1777, mtime=-1_500_000_000),
        Entry("link", SYMLINK, linkname="/" + "y" * 200),
        Entry("p/" + "n" * 99, size=1),
    ]
    for entry in entries:
        writer.add(entry, [b"z" * entry.size] if entry.size else [])
    writer.close()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == [e.name for e in entries]
    assert members[0].uid == 3_000_000
    assert members[3].linkname == "/" + "y" * 200
    back = list(TarReader(io.BytesIO(out.getvalue())))
    for before, after in zip(entries, back, strict=True):
        assert (before.name.rstrip("/"), before.mtime, before.mode, before.uid) == (
            after.name.rstrip("/"), after.mtime, after.mode, after.uid)  # fmt: skip
    assert back[1].xattrs == entries[1].xattrs


@pytest.mark.parametrize("form", ["0.0", "0.1", "1.0", "gnu"])
def test_sparse_formats_of_gnu_tar(tmp_path: Path, form: str) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        for index in range(30):
            file.seek(index * 100_000)
            file.write(b"%d" % index)
        file.truncate(5_000_000)
    style = ["--format=gnu"] if form == "gnu" else ["--format=pax", f"--sparse-version={form}"]
    tar = subprocess.run(
        ["tar", "-c", "--sparse", *style, "-C", tmp_path, "holes"], capture_output=True, check=True
    ).stdout
    reader = TarReader(io.BytesIO(tar))
    entry = reader.next()
    assert entry is not None
    assert (entry.name, entry.size) == ("holes", 5_000_000)
    content = bytearray(entry.size)
    data = b"".join(reader.data())
    at = 0
    for offset, length in entry.sparse or ():
        content[offset : offset + length] = data[at : at + length]
        at += length
    assert bytes(content) == path.read_bytes()
    assert reader.next() is None


def test_pieces_of_any_size() -> None:
    class Drip(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.left = data

        def read(self, size: int = -1) -> bytes:
            piece, self.left = self.left[:7], self.left[7:]
            return piece

    reader = TarReader(Drip(_archive(tarfile.PAX_FORMAT)))  # type: ignore[arg-type]
    assert [len(b"".join(reader.data())) for _ in reader] == [3, 1000, 0, 0, 0, 0]


def test_refuses_damage() -> None:
    good = _archive(tarfile.PAX_FORMAT)
    with pytest.raises(TarError, match="invalid tar header"):
        list(TarReader(io.BytesIO(b"\x1f\x8b" + os.urandom(1000))))
    with pytest.raises(TarError, match="unexpected EOF"):
        list(TarReader(io.BytesIO(good[:700])))
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", MAX_EXTENSION + 1
    with pytest.raises(TarError, match="header extension"):
        list(TarReader(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))))


@pytest.mark.parametrize("records", [b"9 path=\n", b"99999 path=x\n", b"x path=y\n", b"6 path\n",
                                     b"25 GNU.sparse.map=9,9,1\n"])  # fmt: skip
def test_refuses_damaged_pax(records: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", len(records)
    body = records.ljust(512, b"\0")
    file = tarfile.TarInfo("f").tobuf()
    with pytest.raises(TarError):
        list(TarReader(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT) + body + file + bytes(1024))))


@pytest.mark.parametrize("kind", [REGULAR, DIRECTORY])
@pytest.mark.parametrize("name", ["x", "some/where", "n" * 99, "n" * 100])
@pytest.mark.parametrize("mtime", [0, 1_700_000_000 * 10**9])
def test_a_plain_header_is_the_one_that_any_member_would_get(
    kind: str, name: str, mtime: int
) -> None:
    entry = Entry(name, kind, mode=0o4751, uid=1000, gid=7, size=12345, mtime=mtime)
    writer = TarWriter(io.BytesIO())
    plain = writer._plain(entry)
    assert plain in (None, writer._any(entry))
    assert (plain is None) == (kind == DIRECTORY and len(name) == 100)  # with its slash too long


@pytest.mark.parametrize(
    "special",
    [
        {"name": "ä"}, {"name": "n" * 101}, {"mtime": 1}, {"mtime": -(10**9)}, {"uid": 8**7},
        {"gid": 8**7}, {"size": 8**11}, {"xattrs": {"user.a": b"1"}}, {"uname": "me"},
        {"kind": SYMLINK},
    ],
)  # fmt: skip
def test_no_plain_header_for_what_needs_more(special: dict[str, Any]) -> None:
    assert TarWriter(io.BytesIO())._plain(Entry(**{"name": "x", **special})) is None
