"""Local volumes: Docker's names, options, filters and refusals."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.engine.volume_options import option_mount, without_secrets
from naru.engine.volumes import ANONYMOUS_LABEL, Volumes
from naru.kernel.mounts import Mount
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig, MountPoint
from naru.spec.errors import Conflict, InvalidParameter, NotFound
from naru.store.records import Records, delete, put


class Setup:
    def __init__(self, root: Path) -> None:
        self.root = root / "volumes"
        self.records = Records.open(root / "records.db")
        self.volumes = Volumes(root=self.root, records=self.records)

    async def use(self, volume: str, container_id: str = "c1") -> None:
        mount = MountPoint(type="volume", name=volume, destination="/v")
        record = ContainerRecord(
            id=container_id, name=container_id, created=1, image_id="", chain_id="", driver="vfs",
            config=ContainerConfig(), host_config=HostConfig(), path="", args=[], mounts=[mount],
        )  # fmt: skip
        await self.records.commit(put(self.records.containers, record))

    def events(self) -> list[tuple[str, str]]:
        return [(event.action, event.actor_id) for event in self.records.events()]


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path)
    yield made
    await made.records.close()


async def test_create_is_idempotent(setup: Setup) -> None:
    one = await setup.volumes.create("data", labels={"a": "1"})
    assert await setup.volumes.create("data") == one
    assert one.mountpoint == str(setup.root / "data" / "_data")
    assert Path(one.mountpoint).is_dir()
    assert setup.volumes.get("data") == one
    assert setup.events() == [("create", "data")]


async def test_an_anonymous_volume_gets_a_name(setup: Setup) -> None:
    made = await setup.volumes.create("")
    assert len(made.name) == 64
    assert made.anonymous
    assert made.labels == {ANONYMOUS_LABEL: ""}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a", "too short"),
        ("../x", "includes invalid characters for a local volume name"),
        ("-x", "includes invalid characters"),
        ("a/b", "includes invalid characters"),
        ("a\n", "includes invalid characters"),
    ],
)
async def test_bad_names(setup: Setup, name: str, text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        await setup.volumes.create(name)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"colour": "red"}, 'invalid option: "colour"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"device": "/dev/x"}, 'missing required option: "type"'),
        ({"o": "ro", "type": "x"}, 'missing required option: "device"'),
        ({"size": "lots"}, "invalid size"),
    ],
)
async def test_bad_options(setup: Setup, options: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        await setup.volumes.create("data", options=options)
    assert os.listdir(setup.root) == []


async def test_an_unknown_driver(setup: Setup) -> None:
    with pytest.raises(NotFound, match='plugin "flocker" not found'):
        await setup.volumes.create("data", driver="flocker")


async def test_a_used_volume_stays(setup: Setup) -> None:
    await setup.volumes.create("data")
    await setup.use("data")
    with pytest.raises(Conflict, match=r"remove data: volume is in use - \[c1\]"):
        await setup.volumes.remove("data")
    await setup.records.commit(delete(setup.records.containers, "c1"))
    await setup.volumes.remove("data")
    assert os.listdir(setup.root) == []
    with pytest.raises(NotFound, match="get data: no such volume"):
        await setup.volumes.remove("data")
    await setup.volumes.remove("data", force=True)
    assert setup.events() == [("create", "data"), ("destroy", "data")]


async def test_filters(setup: Setup) -> None:
    await setup.volumes.create("one", labels={"a": "1"})
    await setup.volumes.create("two", labels={"a": "2"})
    await setup.use("two")

    def names(**filters: list[str]) -> list[str]:
        return [record.name for record in setup.volumes.search(filters)]

    assert names() == ["one", "two"]
    assert names(dangling=["true"]) == ["one"]
    assert names(dangling=["0"]) == ["two"]
    assert names(name=["tw"]) == ["two"]
    assert names(label=["a"]) == ["one", "two"]
    assert names(label=["a=1"]) == ["one"]
    assert names(driver=["local"]) == ["one", "two"]
    assert names(driver=["nfs"]) == []
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        names(colour=["red"])
    with pytest.raises(InvalidParameter, match="dangling"):
        names(dangling=["perhaps"])


async def test_prune(setup: Setup) -> None:
    await setup.volumes.create("named")
    await setup.volumes.create("kept")
    await setup.use("kept")
    anonymous = await setup.volumes.create("")
    (Path(anonymous.mountpoint) / "f").write_bytes(b"x" * 10_000)
    done = await setup.volumes.prune()
    assert done.names == [anonymous.name]
    assert done.reclaimed >= 10_000
    assert (await setup.volumes.prune({"all": ["true"]})).names == ["named"]
    assert [v.name for v in setup.volumes.search()] == ["kept"]
    assert setup.events()[-1] == ("prune", "")


async def test_prune_by_label(setup: Setup) -> None:
    await setup.volumes.create("one", labels={"a": "1"})
    await setup.volumes.create("two", labels={"b": "1"})
    done = await setup.volumes.prune({"all": ["1"], "label!": ["a=1"]})
    assert done.names == ["two"]


async def test_mount_tells_and_protects(setup: Setup) -> None:
    await setup.volumes.create("data")
    path = await setup.volumes.mount("data", "c9", destination="/d")
    assert path == setup.root / "data" / "_data"
    with pytest.raises(Conflict, match="in use"):
        await setup.volumes.remove("data")
    await setup.volumes.unmount("data", "c9")
    await setup.volumes.unmount("data", "c9")
    await setup.volumes.remove("data")
    assert [action for action, _ in setup.events()][:3] == ["create", "mount", "unmount"]


@pytest.mark.skipif(os.geteuid() != 0, reason="copies owners")
async def test_an_empty_volume_takes_the_image_s_content(setup: Setup, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    (rootfs / "var/lib/db").mkdir(parents=True)
    (rootfs / "var/lib/db/f").write_text("hello")
    os.chown(rootfs / "var/lib/db", 12, 34)
    os.chmod(rootfs / "var/lib/db", 0o2770)
    (rootfs / "db").symlink_to("/var/lib/db")  # leads inside the image, not on the host
    made = await setup.volumes.create("data")
    await setup.volumes.populate("data", rootfs, "/db")
    data = Path(made.mountpoint)
    assert (data / "f").read_text() == "hello"
    assert (data.stat().st_uid, data.stat().st_gid) == (12, 34)
    assert data.stat().st_mode & 0o7777 == 0o2770
    (data / "f").write_text("mine")
    await setup.volumes.populate("data", rootfs, "/db")  # no longer empty: left alone
    assert (data / "f").read_text() == "mine"
    other = await setup.volumes.create("other")
    await setup.volumes.populate("other", rootfs, "/nowhere")
    assert os.listdir(other.mountpoint) == []


async def test_recovery_keeps_what_may_be_data(setup: Setup) -> None:
    (setup.root / "half").mkdir()
    (setup.root / "gone.removing-1234").mkdir()
    (setup.root / "stray" / "_data").mkdir(parents=True)
    (setup.root / "stray" / "_data" / "precious").touch()
    await setup.volumes.recover()
    assert os.listdir(setup.root) == ["stray"]


@pytest.mark.parametrize(
    ("options", "mount"),
    [
        (
            {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,ro"},
            ("tmpfs", "tmpfs", ["size=1m", "ro"]),
        ),
        ({"type": "none", "device": "/srv", "o": "bind"}, ("", "/srv", ["bind"])),
        ({"type": "bind", "device": "/srv"}, ("", "/srv", ["bind"])),
        (
            {"type": "nfs", "device": ":/x", "o": "addr=files,rw"},
            ("nfs", ":/x", ["addr=192.0.2.1", "rw"]),
        ),
        (
            {"type": "nfs", "device": ":/x", "o": "addr=192.0.2.9"},
            ("nfs", ":/x", ["addr=192.0.2.9"]),
        ),
        (
            {"type": "cifs", "device": "//files/x", "o": "username=u"},
            ("cifs", "//192.0.2.1/x", ["username=u"]),
        ),
    ],
)
def test_option_mounts(options: dict[str, str], mount: tuple[str, str, list[str]]) -> None:
    target = Path("/t")
    kind, source, words = mount
    assert option_mount(options, target, lambda host: "192.0.2.1") == Mount(
        kind, source, target, words
    )


def test_a_password_is_not_told() -> None:
    assert "hunter2" not in without_secrets(
        "mount x password=hunter2: no", {"o": "password=hunter2"}
    )
