"""A driver's work in a process of its own gives what it gives in ours."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from tests.unit.store.plain_driver import PlainDriver

from naru.kernel.workers import Workers
from naru.spec.errors import InternalError, InvalidParameter
from naru.store.driver import StorageDriver
from naru.store.raw_reader import RawReader
from naru.store.read_ahead import ReadAhead
from naru.store.unpack import Unpacker


class PlainApart(PlainDriver):
    apart: ClassVar[bool] = True


@pytest.fixture(params=[PlainDriver, PlainApart])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> StorageDriver:
    made: StorageDriver = request.param(tmp_path / "layers")
    return made


def tar_of(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_unpacked(compress, driver: StorageDriver, workers: Workers, tmp_path: Path) -> None:
    tar = tar_of(small=b"1", large=bytes(3_000_000))
    unpacker = Unpacker(tmp_path, workers=workers)
    done = unpacker.unpack(driver, "one", None, io.BytesIO(compress(tar)))
    assert done.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert (done.size, done.tar_size) == (3_000_001, len(tar))
    assert (tmp_path / "layers" / "one" / "small").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("tar", "why"),
    [
        (tar_of(x=bytes(5000))[:1000], "unexpected EOF"),
        (gzip.compress(tar_of(x=b""))[:-9], "unexpected EOF"),
        (b"no tar" * 200, "failed to register layer"),
    ],
)
def test_what_is_damaged(
    tar: bytes, why: str, driver: StorageDriver, workers: Workers, tmp_path: Path
) -> None:
    with pytest.raises(InvalidParameter, match=why):
        Unpacker(tmp_path, workers=workers).unpack(driver, "one", None, io.BytesIO(tar))
    assert list(driver.layers()) == []


def test_another_digest(driver: StorageDriver, workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="layer verification failed: expected sha256:0"):
        Unpacker(tmp_path, workers=workers).unpack(
            driver, "one", None, io.BytesIO(tar_of(x=b"")), diff_id="sha256:0"
        )
    assert list(driver.layers()) == []


class Breaking(RawReader):
    """Half a tar, and then an error."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._pieces = [tar_of(x=bytes(100_000))[:50_000]]
        self._stop = stop

    def some(self, _size: int) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        if self._stop is not None:
            self._stop.set()
            return b"more"
        raise InternalError("the download broke")


def test_a_source_that_breaks(driver: StorageDriver, workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="the download broke"):
        Unpacker(tmp_path, workers=workers).unpack(driver, "one", None, Breaking())
    assert list(driver.layers()) == []


def test_stopped_in_the_middle(driver: StorageDriver, workers: Workers, tmp_path: Path) -> None:
    stop = threading.Event()
    with pytest.raises(InternalError, match="cancelled"):
        Unpacker(tmp_path, workers=workers).unpack(driver, "one", None, Breaking(stop), stop)
    assert list(driver.layers()) == []


def test_read_ahead_gives_what_it_reads() -> None:
    data = bytes(range(256)) * 20_000
    ahead = ReadAhead(io.BytesIO(data).read)
    read = b"".join(iter(lambda: ahead.read(70_001), b""))
    assert read == data
    assert ahead.read() == b""


def test_read_ahead_raises_in_its_place() -> None:
    ahead = ReadAhead(Breaking().some)
    assert len(ahead.read(1 << 20)) == 50_000
    with pytest.raises(InternalError):
        ahead.read(1)
