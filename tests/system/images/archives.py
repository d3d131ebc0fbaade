"""Images made in memory, and the messages and trees of tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from naru.store.tarentry import CHARDEV, DIRECTORY, HARDLINK, SYMLINK, Entry
from naru.store.tarwriter import TarWriter

_OCI = "application/vnd.oci.image"


def tar(members: Iterable[tuple[Entry, bytes]]) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out)
    for entry, data in members:
        entry.size = len(data)
        writer.add(entry, [data])
    writer.close()
    return out.getvalue()


def layers() -> list[bytes]:
    """Two layers with what trees are made of; the second hides a file of the first."""
    time = 1_600_000_000_000_000_000
    base = [
        (Entry("bin", DIRECTORY, mode=0o755, mtime=time), b""),
        (Entry("bin/tool", mode=0o4755, mtime=time), b"#!/bin/sh\n" * 1000),
        (Entry("bin/alias", HARDLINK, linkname="bin/tool", mode=0o4755, mtime=time), b""),
        (Entry("bin/link", SYMLINK, linkname="tool", mode=0o777, mtime=time), b""),
        (Entry("etc", DIRECTORY, mode=0o755, mtime=time), b""),
        (Entry("etc/gone", mtime=time), b"gone"),
        (Entry("etc/owned", uid=1000, gid=1001, mode=0o640, mtime=time + 123_456_789), b"mine"),
        (Entry("etc/capable", xattrs={"security.capability": bytes.fromhex(
            "0100000200200000000000000000000000000000")}, mode=0o755, mtime=time), b"x"),
        (Entry("dev", DIRECTORY, mode=0o755, mtime=time), b""),
        (Entry("dev/null", CHARDEV, devmajor=1, devminor=3, mode=0o666, mtime=time), b""),
    ]  # fmt: skip
    top = [
        (Entry("etc", DIRECTORY, mode=0o755, mtime=time), b""),
        (Entry("etc/.wh.gone", mtime=time), b""),
        (Entry("etc/new\nline", mtime=time), b"new"),
    ]
    return [tar(base), tar(top)]


def docker_archive(name: str, parts: list[bytes] | None = None, **config: Any) -> bytes:
    """What `docker save` of old wrote."""
    parts = layers() if parts is None else parts
    document = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05.5Z",
        "config": {"Cmd": ["/bin/tool"], "Env": ["A=b"], "Labels": {"tier": "test"}, **config},
        "rootfs": {"type": "layers", "diff_ids": [sha(part) for part in parts]},
        "history": [{"created": "2024-01-02T03:04:05.5Z", "created_by": f"step {index}"}
                    for index in range(len(parts))],
    }).encode()  # fmt: skip
    manifest = [{
        "Config": f"{sha(document)[7:]}.json", "RepoTags": [name] if name else None,
        "Layers": [f"{index}/layer.tar" for index in range(len(parts))],
    }]  # fmt: skip
    return tar([
        *((Entry(f"{index}/layer.tar"), part) for index, part in enumerate(parts)),
        (Entry(f"{sha(document)[7:]}.json"), document),
        (Entry("manifest.json"), json.dumps(manifest).encode()),
    ])  # fmt: skip


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


async def collect(messages: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message async for message in messages]


async def pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """All that an image says of its files."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        found[str(path.relative_to(root))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev,
            status.st_nlink if stat.S_ISREG(status.st_mode) else 1, content, xattrs,
        )  # fmt: skip
    return found


def oci_archive(name: str, blobs: list[bytes], parts: list[bytes], kind: str = "gzip") -> bytes:
    """An OCI layout of one image; `blobs` are the compressed `parts`."""
    document = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/tool"]},
        "rootfs": {"type": "layers", "diff_ids": [sha(part) for part in parts]},
    }).encode()  # fmt: skip
    suffix = f"+{kind}" if kind else ""
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _described("application/vnd.oci.image.config.v1+json", document),
        "layers": [_described(f"application/vnd.oci.image.layer.v1.tar{suffix}", b) for b in blobs],
    }).encode()  # fmt: skip
    entry = _described("application/vnd.oci.image.manifest.v1+json", manifest)
    index = {
        "schemaVersion": 2,
        "manifests": [{**entry, "annotations": {"io.containerd.image.name": name}}],
    }
    return tar([
        (Entry("oci-layout"), b'{"imageLayoutVersion": "1.0.0"}'),
        *((Entry(f"blobs/sha256/{sha(blob)[7:]}"), blob) for blob in (*blobs, document, manifest)),
        (Entry("index.json"), json.dumps(index).encode()),
    ])  # fmt: skip


def _described(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha(data), "size": len(data)}


def oci_index_archive(
    name: str, platforms: list[str], attested: dict[str, bytes] | None = None
) -> bytes:
    """An OCI layout of one image for several platforms, with layers that all of them share.

    `attested` are statements by platform, each in a manifest that attests to the platform's own.
    """
    members, nested = oci_index(platforms, attested or {})
    return oci_layout(name, members, nested)


def oci_layout(name: str, members: dict[str, bytes], nested: bytes) -> bytes:
    """An archive of blobs by digest, and the index that the name stands for."""
    top = _described("application/vnd.oci.image.index.v1+json", nested)
    index = {
        "schemaVersion": 2,
        "manifests": [{**top, "annotations": {"io.containerd.image.name": name}}],
    }
    blobs = {**members, sha(nested): nested}
    return tar([
        (Entry("oci-layout"), b'{"imageLayoutVersion": "1.0.0"}'),
        *((Entry(f"blobs/sha256/{digest[7:]}"), data) for digest, data in blobs.items()),
        (Entry("index.json"), json.dumps(index).encode()),
    ])  # fmt: skip


def oci_index(platforms: list[str], attested: dict[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    """-> blobs by digest, and the index of them; layers are deflated where it attests."""
    pack = _packed if attested else bytes
    members: dict[str, bytes] = {}

    def added(data: bytes) -> bytes:
        members[sha(data)] = data
        return data

    entries: list[dict[str, Any]] = []
    attesting: list[dict[str, Any]] = []
    for platform in platforms:
        system, architecture = platform.split("/")
        each = [*layers(), tar([(Entry("platform"), platform.encode())])]
        config = {"architecture": architecture, "os": system, "config": {"Cmd": ["/bin/tool"]}}
        kind = f"{_OCI}.layer.v1.tar" + ("+gzip" if attested else "")
        blobs = [_described(kind, added(pack(part))) for part in each]
        manifest = added(_manifest(added, config, each, blobs))
        entry = _described(f"{_OCI}.manifest.v1+json", manifest)
        entries.append({**entry, "platform": {"os": system, "architecture": architecture}})
        if platform in attested:
            statement = attested[platform]
            unknown = {"architecture": "unknown", "os": "unknown"}
            blobs = [{
                **_described("application/vnd.in-toto+json", added(statement)),
                "annotations": {"in-toto.io/predicate-type": "https://example.com/statement"},
            }]  # fmt: skip
            manifest = added(_manifest(added, {**unknown, "config": {}}, [statement], blobs))
            attesting.append({
                **_described(f"{_OCI}.manifest.v1+json", manifest),
                "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                                "vnd.docker.reference.digest": entry["digest"]},
                "platform": unknown,
            })  # fmt: skip
    document = {
        "schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json",
        "manifests": [*entries, *attesting],
    }  # fmt: skip
    return members, json.dumps(document).encode()


def _manifest(
    added: Callable[[bytes], bytes],
    config: dict[str, Any],
    parts: list[bytes],
    blobs: list[dict[str, Any]],
) -> bytes:
    document = {**config, "rootfs": {"type": "layers", "diff_ids": [sha(part) for part in parts]}}
    described = _described(f"{_OCI}.config.v1+json", added(json.dumps(document).encode()))
    return json.dumps({
        "schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": described,
        "layers": blobs,
    }).encode()  # fmt: skip


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def members_of(archive: bytes) -> dict[str, bytes]:
    """The files of an archive, by name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = {member.name: opened.extractfile(member) for member in opened if member.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}
