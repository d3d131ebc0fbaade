"""Load, push, pull, save: the same image comes back, with the same digests and the same tree."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from naru.engine.images.library import Library
from naru.spec.errors import Conflict, InvalidParameter, NotFound, Unavailable
from naru.spec.reference import parse
from tests.harness.pieces import joined
from tests.system.images.archives import collect, docker_archive, layers, pieces, sha, tar, tree
from tests.system.images.conftest import Images


def skopeo(*arguments: object) -> str:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("needs skopeo")
    command = [program, "--insecure-policy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def shown(library: Library, ref: str) -> dict[str, tuple[object, ...]]:
    image = library.find(ref)
    path = await library.layers.view(image.chain_id)
    try:
        return tree(path)
    finally:
        await library.layers.end_view(image.chain_id)


async def test_load_shows_the_tree(images: Images) -> None:
    messages = await collect(images.loader.load(pieces(docker_archive("app:1"))))
    assert messages[-1] == {"stream": "Loaded image: app:1\n"}
    files = await shown(images.library, "app:1")
    assert sorted(files) == [
        "bin", "bin/alias", "bin/link", "bin/tool", "dev", "dev/null", "etc", "etc/capable",
        "etc/new\nline", "etc/owned",
    ]  # fmt: skip
    assert files["etc/owned"][:4] == (0o100640, 1000, 1001, 1_600_000_000_123_456_789)
    assert files["bin/tool"][0] == 0o104755
    assert files["bin/tool"][5] == 2
    assert files["etc/capable"][7] == {
        "security.capability": bytes.fromhex("0100000200200000000000000000000000000000")
    }
    inspected = images.listing.inspect("app:1")
    assert inspected["RootFS"]["Layers"] == [sha(part) for part in layers()]
    assert inspected["Config"]["Cmd"] == ["/bin/tool"]
    assert [step["CreatedBy"] for step in images.listing.history("app:1")] == ["step 1", "step 0"]


async def test_push_then_pull_elsewhere(images: Images, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/team/app:1"
    await collect(images.loader.load(pieces(docker_archive(name))))
    image = images.library.find(name)
    messages = await collect(images.pusher.push(parse(name)))
    [aux] = [m["aux"] for m in messages if "aux" in m]
    assert any(m.get("status") == "Pushed" for m in messages)
    again = await collect(images.pusher.push(parse(name)))
    assert any(m.get("status") == "Layer already exists" for m in again)
    assert f"1: digest: {aux['Digest']} size: {aux['Size']}" in [m.get("status") for m in again]

    (tmp_path / "other").mkdir()
    other = await Images(tmp_path / "other").open()
    try:
        told = await collect(other.puller.pull(parse(name)))
        assert told[0] == {"status": "Pulling from team/app", "id": "1"}
        assert told[-2:] == [
            {"status": f"Digest: {aux['Digest']}"},
            {"status": f"Status: Downloaded newer image for {name}"},
        ]
        assert other.library.find(name).id == image.id
        assert other.library.find(f"{registry}/team/app@{aux['Digest']}").id == image.id
        assert await shown(other.library, name) == await shown(images.library, name)
        told = await collect(other.puller.pull(parse(name)))
        assert told[-1] == {"status": f"Status: Image is up to date for {name}"}
        # Mounted from the other repository, and the same manifest again.
        await other.library.tag(name, parse(f"{registry}/second:2"))
        told = await collect(other.pusher.push(parse(f"{registry}/second:2")))
        assert any(m.get("status", "").startswith("Mounted from") for m in told)
        assert next(m["aux"]["Digest"] for m in told if "aux" in m) == aux["Digest"]
    finally:
        await other.close()


async def test_save_is_read_by_skopeo_and_by_us(
    images: Images, registry: str, tmp_path: Path
) -> None:
    await collect(images.loader.load(pieces(docker_archive("app:1"))))
    image = images.library.find("app:1")
    path = tmp_path / "saved.tar"
    path.write_bytes(await joined(images.saver.save(["app:1"])))
    copied = tmp_path / "copied"
    skopeo("copy", f"docker-archive:{path}", f"dir:{copied}")
    config = json.loads((copied / "manifest.json").read_text())["config"]
    assert config["digest"] == image.id
    await images.removal.remove("app:1")
    assert list(images.blobs.digests()) == []
    assert images.listing.images() == []
    await collect(images.loader.load(pieces(path.read_bytes())))
    assert images.library.find("app:1").id == image.id
    # Read as the OCI layout that it is too.
    layout = tmp_path / "layout"
    layout.mkdir()
    shutil.unpack_archive(path, layout, filter="data")
    skopeo("copy", f"oci:{layout}:1", f"dir:{copied}")
    config = json.loads((copied / "manifest.json").read_text())["config"]
    assert config["digest"] == image.id


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_oci_archives_and_manifests_of_skopeo(
    images: Images, registry: str, tmp_path: Path, compression: str
) -> None:
    source = tmp_path / "image.tar"
    source.write_bytes(docker_archive("app:1"))
    archive = tmp_path / "oci.tar"
    how = ("--dest-compress-format", compression)
    skopeo(
        "copy", "--format", "oci", *how, f"docker-archive:{source}", f"oci-archive:{archive}:x/y:1"
    )
    messages = await collect(images.loader.load(pieces(archive.read_bytes())))
    assert messages[-1] == {"stream": "Loaded image: x/y:1\n"}
    loaded = await shown(images.library, "x/y:1")
    manifest = images.library.find("x/y:1").manifest
    name = f"{registry}/oci-{compression}:1"
    await images.library.tag("x/y:1", parse(name))
    told = await collect(images.pusher.push(parse(name)))
    assert next(m["aux"]["Digest"] for m in told if "aux" in m) == manifest
    await images.removal.remove("x/y:1")
    await images.removal.remove(name)
    assert list(images.blobs.digests()) == []
    await collect(images.puller.pull(parse(name)))
    assert images.library.find(name).manifest == manifest
    assert await shown(images.library, name) == loaded


async def test_import_with_changes(images: Images) -> None:
    image = await images.importer.import_(
        pieces(layers()[0]),
        name=parse("imported"),
        changes=["CMD /bin/tool x", 'ENV A=1 B="two words"', "EXPOSE 80"],
        message="hello",
    )
    inspected = images.listing.inspect("imported:latest")
    assert inspected["Id"] == image.id
    assert inspected["Comment"] == "hello"
    assert inspected["Config"]["Cmd"] == ["/bin/sh", "-c", "/bin/tool x"]
    assert inspected["Config"]["Env"] == ["A=1", "B=two words"]
    assert inspected["Config"]["ExposedPorts"] == {"80/tcp": {}}
    assert "etc/gone" in await shown(images.library, "imported")


async def test_concurrent_pulls_share_and_restart_keeps(images: Images, registry: str) -> None:
    name = f"{registry}/shared:1"
    await collect(images.loader.load(pieces(docker_archive(name))))
    await collect(images.pusher.push(parse(name)))
    await images.removal.remove(name, force=True)
    results = await asyncio.gather(*(collect(images.puller.pull(parse(name))) for _ in range(5)))
    assert all(result == results[0] or result[-1] == results[0][-1] for result in results)
    image = images.library.find(name)
    blobs = set(images.blobs.digests())
    await images.close()
    await images.open()
    assert images.library.find(name) == image
    assert set(images.blobs.digests()) == blobs
    assert images.library.sweeper.needed_blobs() == blobs


async def test_removal_texts(images: Images) -> None:
    await collect(images.loader.load(pieces(docker_archive("app:1"))))
    image = images.library.find("app:1")
    await images.library.tag("app:1", parse("other:2"))
    short = image.id[7:19]
    with pytest.raises(Conflict, match=rf"unable to delete {short} \(must be forced\) - image is"):
        await images.removal.remove(short)
    assert await images.removal.remove("app:1") == [{"Untagged": "app:1"}]
    told = await images.removal.remove(short)
    assert told[:2] == [{"Untagged": "other:2"}, {"Deleted": image.id}]
    assert len(told) == 4
    with pytest.raises(NotFound, match="No such image: app:1"):
        await images.removal.remove("app:1")


async def test_what_cannot_be_pulled(images: Images, registry: str) -> None:
    with pytest.raises(
        NotFound,
        match=f"^manifest for {registry}/no/such:x not found: manifest unknown: manifest unknown$",
    ):
        await collect(images.puller.pull(parse(f"{registry}/no/such:x")))
    with pytest.raises(
        Unavailable,
        match=r'^Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused$',
    ):
        await collect(images.puller.pull(parse("127.0.0.1:1/x")))


async def test_bad_archives_leave_nothing(images: Images) -> None:
    good = docker_archive("app:1")
    broken_layer = docker_archive("app:1", [layers()[0][:3000] + b"x" * 1000])
    for bad in (b"", b"garbage" * 1000, good[: len(good) // 2], broken_layer, tar([])):
        with pytest.raises(InvalidParameter):
            await collect(images.loader.load(pieces(bad)))
    await images.tasks.settled()
    await images.library.sweeper.sweep()
    assert images.listing.images() == []
    assert images.blobs.disk_usage() == 0
    assert images.records.layers.values() == []
