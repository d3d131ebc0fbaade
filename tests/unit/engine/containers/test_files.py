from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.harness.pieces import joined

from naru.engine.containers import path_stat
from naru.engine.containers.files import Files
from naru.engine.tasks import Tasks
from naru.kernel.workers import Workers
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig, MountPoint
from naru.spec.errors import Forbidden, InvalidParameter, NotFound


class Surroundings:
    """The containers and layers that `Files` asks: one stopped container."""

    def __init__(self, root: Path, volume: Path) -> None:
        self.root = root
        self.mounted = False
        self.lock = asyncio.Lock()
        self.record = ContainerRecord(
            id="c" * 64,
            name="web",
            created=0,
            image_id="",
            chain_id="",
            driver="vfs",
            config=ContainerConfig(),
            host_config=HostConfig(),
            path="sh",
            args=[],
            mounts=[MountPoint(type="volume", source=str(volume), destination="/vol")],
        )

    def find(self, ref: str) -> ContainerRecord:
        return self.record

    def get(self, container_id: str) -> ContainerRecord:
        return self.record

    def live(self, record: ContainerRecord) -> Any:
        return SimpleNamespace(lock=self.lock)

    async def tell(self, *events: object) -> None: ...

    async def mount(self, container_id: str) -> Path:
        self.mounted = True
        return self.root

    async def unmount(self, container_id: str) -> None:
        self.mounted = False

    @asynccontextmanager
    async def look(self, container_id: str) -> AsyncIterator[Path]:
        yield self.root


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    root, volume = tmp_path / "root", tmp_path / "volume"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    volume.mkdir()
    (volume / "data").write_text("of the volume")
    return Surroundings(root, volume)


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


@pytest.fixture
def files(around: Surroundings, workers: Workers, tasks: Tasks) -> Files:
    return Files(containers=around, layers=around, workers=workers, tasks=tasks)  # type: ignore[arg-type]


async def unpacked(files: Files, path: str) -> dict[str, bytes | str]:
    _, pieces = await files.read("web", path)
    raw = await joined(pieces)
    found: dict[str, bytes | str] = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file is not None else member.linkname
    return found


async def packed(*members: tuple[str, bytes | None]) -> AsyncIterator[bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.uid, info.gid = os.geteuid(), os.getegid()
            if content is None:
                info.type = tarfile.DIRTYPE
                info.mode = 0o755
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))
    raw = out.getvalue()
    for at in range(0, len(raw), 1000):
        yield raw[at : at + 1000]


async def put(files: Files, path: str, *members: tuple[str, bytes | None]) -> None:
    await files.write("web", path, packed(*members), keep_kinds=True, as_user=False)


async def test_a_file_and_a_tree(files: Files, around: Surroundings) -> None:
    assert await unpacked(files, "/etc/passwd") == {"passwd": b"inside"}
    assert await unpacked(files, "etc") == {"etc": "", "etc/passwd": b"inside"}
    assert await unpacked(files, "/etc/.") == {".": "", "./passwd": b"inside"}
    assert not around.mounted


async def test_the_layer_is_let_go_behind_the_last_copy_into_it(
    files: Files, around: Surroundings, tasks: Tasks
) -> None:
    more, begun = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        async for piece in packed(("slow", b"x")):
            begun.set()
            await more.wait()
            yield piece

    slow = asyncio.create_task(files.write("web", "/", slowly(), keep_kinds=True, as_user=False))
    await begun.wait()
    await put(files, "/", ("quick", b"x"))
    await tasks.settled()
    assert around.mounted
    more.set()
    await slow
    await tasks.settled()
    assert not around.mounted
    assert {"slow", "quick"} <= {path.name for path in around.root.iterdir()}


async def test_paths_below_a_volume_are_the_volume_s(files: Files, around: Surroundings) -> None:
    assert await unpacked(files, "/vol/data") == {"data": b"of the volume"}
    assert await unpacked(files, "/vol") == {"vol": "", "vol/data": b"of the volume"}
    await put(files, "/vol", ("new", b"x"))
    assert Path(around.record.mounts[0].source, "new").read_bytes() == b"x"


@pytest.mark.parametrize("link", ["../../../../../../secret", "/../../secret", "/proc/1/root"])
async def test_no_link_leads_out(files: Files, around: Surroundings, link: str) -> None:
    os.symlink(link, around.root / "out")
    described = await files.stat("web", "/out")
    assert described["mode"] & 1 << 27
    assert described["linkTarget"].startswith("/")
    assert (await unpacked(files, "/out"))["out"] == link
    with pytest.raises(NotFound, match="Could not find the file /out/x in container"):
        await files.stat("web", "/out/x")
    with pytest.raises((NotFound, InvalidParameter)):
        await put(files, "/out", ("x", b"x"))


async def test_a_link_in_the_middle_stays_inside(files: Files, around: Surroundings) -> None:
    os.symlink("/etc", around.root / "config")
    assert await unpacked(files, "/config/passwd") == {"passwd": b"inside"}
    await put(files, "/config", ("added", b"1"))
    assert (around.root / "etc" / "added").read_bytes() == b"1"


async def test_stat_of_a_directory(files: Files) -> None:
    described = await files.stat("web", "/etc")
    assert described["name"] == "etc"
    assert described["mode"] >> 31 == 1


async def test_what_is_not_there(files: Files) -> None:
    for path in ("/nope", "/etc/passwd/x"):
        with pytest.raises(NotFound, match=f"Could not find the file {path} in container c+"):
            await files.read("web", path)
    with pytest.raises(NotFound):
        await put(files, "/nope", ("x", b"x"))


async def test_only_a_directory_takes_an_archive(files: Files) -> None:
    with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
        await put(files, "/etc/passwd", ("x", b"x"))


async def test_kinds_are_kept(files: Files, around: Surroundings) -> None:
    with pytest.raises(InvalidParameter, match='cannot overwrite directory "etc" with non-'):
        await put(files, "/", ("etc", b"a file"))
    with pytest.raises(InvalidParameter, match='cannot overwrite non-directory "passwd" with'):
        await put(files, "/etc", ("passwd", None))
    assert (around.root / "etc" / "passwd").read_text() == "inside"


async def test_read_only(files: Files, around: Surroundings) -> None:
    record = around.record
    around.record = msgspec.structs.replace(record, host_config=HostConfig(readonly_rootfs=True))
    with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
        await put(files, "/etc", ("x", b"x"))
    await put(files, "/vol", ("x", b"x"))
    mounts = [msgspec.structs.replace(record.mounts[0], rw=False)]
    around.record = msgspec.structs.replace(record, mounts=mounts)
    with pytest.raises(Forbidden, match="mounted volume is marked read-only"):
        await put(files, "/vol", ("x", b"x"))


async def test_what_is_no_archive(files: Files) -> None:
    async def rubbish() -> AsyncIterator[bytes]:
        yield b"no tar" * 1000

    with pytest.raises(InvalidParameter):
        await files.write("web", "/etc", rubbish(), keep_kinds=True, as_user=False)


@pytest.mark.parametrize(
    ("unix", "go"),
    [
        (0o100644, 0o644),
        (0o040755, 1 << 31 | 0o755),
        (0o120777, 1 << 27 | 0o777),
        (0o104755, 1 << 23 | 0o755),
        (0o041777, 1 << 31 | 1 << 20 | 0o777),
        (0o020600, 1 << 26 | 1 << 21 | 0o600),
    ],
)
def test_go_modes(unix: int, go: int) -> None:
    assert path_stat.go_mode(unix) == go
