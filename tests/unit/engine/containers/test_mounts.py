from __future__ import annotations

import pytest

from naru.engine.containers import mounts
from naru.engine.containers.mounts import inherited, parse_bind, parse_mount, parse_volumes_from
from naru.spec.containers import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    MountPoint,
    MountSpec,
    TmpfsOptions,
    VolumeOptions,
)
from naru.spec.errors import InvalidParameter, Unsupported


@pytest.mark.parametrize(
    ("text", "kind", "source", "destination", "rw", "propagation"),
    [
        ("/a:/b", "bind", "/a", "/b", True, "rprivate"),
        ("/a/:/b/", "bind", "/a", "/b", True, "rprivate"),
        ("/a:/b:ro", "bind", "/a", "/b", False, "rprivate"),
        ("/a:/b:rw,rshared", "bind", "/a", "/b", True, "rshared"),
        ("/a:/b:z,ro", "bind", "/a", "/b", False, "rprivate"),
        ("name:/b", "volume", "name", "/b", True, ""),
        ("name:/b:ro,nocopy", "volume", "name", "/b", False, ""),
        ("/b", "volume", "", "/b", True, ""),
    ],
)
def test_binds(
    text: str, kind: str, source: str, destination: str, rw: bool, propagation: str
) -> None:
    request = parse_bind(text)
    assert (request.type, request.source, request.destination) == (kind, source, destination)
    assert (request.rw, request.propagation) == (rw, propagation)


def test_a_bind_makes_its_source_and_nocopy_does_not_copy() -> None:
    assert parse_bind("/a:/b").create_source
    assert not parse_bind("v:/b:nocopy").copy


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "invalid volume specification: ''"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/a:/b:bad", "invalid mode: bad"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount path: 'b' mount path must "
            "be absolute",
        ),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid specification: destination can't be '/'",
        ),
    ],
)
def test_bad_binds(text: str, error: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        parse_bind(text)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (MountSpec(type="bind", source="/a"), "field Target must not be empty"),
        (MountSpec(type="bind", target="/b"), "field Source must not be empty"),
        (MountSpec(type="tmpfs", target="/b", source="x"), "field Source must not be specified"),
        (
            MountSpec(type="volume", target="/b", read_only=True),
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            MountSpec(
                type="bind", source="/a", target="/b", bind_options=BindOptions(propagation="x")
            ),
            "invalid propagation mode: x",
        ),
        (MountSpec(type="npipe", target="/b"), "mount type unknown"),
        (
            MountSpec(type="volume", target="/b", bind_options=BindOptions()),
            "field BindOptions must not be specified",
        ),
    ],
)
def test_bad_mounts(spec: MountSpec, error: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        parse_mount(spec)
    assert str(raised.value) == f'invalid mount config for type "{spec.type}": {error}'


@pytest.mark.parametrize(
    "spec",
    [
        MountSpec(type="image", source="x", target="/b"),
        MountSpec(
            type="volume", target="/b", source="v", volume_options=VolumeOptions(subpath="x")
        ),
    ],
)
def test_what_is_not_done_is_refused(spec: MountSpec) -> None:
    with pytest.raises(Unsupported):
        parse_mount(spec)


def test_tmpfs_options() -> None:
    options = TmpfsOptions(size_bytes=4096, mode=0o1700, options=[["exec"]])
    spec = MountSpec(type="tmpfs", target="/t", read_only=True, tmpfs_options=options)
    assert parse_mount(spec).tmpfs_options == "ro,mode=1700,size=4096,exec"


def test_one_mount_per_destination() -> None:
    host = HostConfig(binds=["/a:/x"], mounts=[MountSpec(type="bind", source="/b", target="/x/")])
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /x"):
        mounts.requested(ContainerConfig(), host)
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /t"):
        mounts.requested(ContainerConfig(), HostConfig(binds=["/a:/t"], tmpfs={"/t": ""}))


def test_an_images_volume_yields() -> None:
    config = ContainerConfig(volumes={"/data": {}, "/tmp": {}, "/other": {}})
    host = HostConfig(binds=["/a:/data"], tmpfs={"/tmp": ""})
    found = {each.destination: each for each in mounts.requested(config, host)}
    assert set(found) == {"/data", "/other"}
    assert found["/data"].type == "bind"
    assert found["/other"].anonymous


@pytest.mark.parametrize(
    ("text", "expected"), [("c", ("c", "rw")), ("c:ro", ("c", "ro")), ("c:z", ("c", "z"))]
)
def test_volumes_from(text: str, expected: tuple[str, str]) -> None:
    assert parse_volumes_from(text) == expected


@pytest.mark.parametrize("text", ["", "c:bad", "c:rshared", "c:nocopy"])
def test_bad_volumes_from(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_volumes_from(text)


def test_inherited_mounts_stay_read_only_and_leave_tmpfs() -> None:
    theirs = [
        MountPoint(type="volume", name="v", destination="/v"),
        MountPoint(type="bind", source="/s", destination="/s", rw=False),
        MountPoint(type="tmpfs", destination="/t"),
    ]
    assert [(each.destination, each.rw) for each in inherited(theirs, "rw")] == [
        ("/v", True),
        ("/s", False),
    ]
    assert not any(each.rw for each in inherited(theirs, "ro"))
