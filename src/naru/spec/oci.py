"""The documents of images: manifests, indexes and configs of OCI 1.1 and Docker schema 2.

Typed for reading only. The bytes as they came are what is stored, hashed and sent on.

Members are read by their exact names, unlike those of requests: what Go reads from `Layers` too is
none to a scanner, or to whoever signs, and one digest must not stand for two documents.
"""

from __future__ import annotations

import datetime
import hashlib
import platform as _host
import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import field

from naru.spec.containers import ContainerConfig
from naru.spec.errors import InvalidParameter
from naru.spec.jsonfit import without_nulls

T = TypeVar("T")

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
"""Annotations of an entry of index.json: its tag, and its whole name."""

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
ACCEPT = (DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST)

MAX_DOCUMENT = 4 << 20
"""Bytes of a manifest or config that are read at most."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i386": "386",
                  "armv7l": "arm", "armv6l": "arm"}  # fmt: skip
_VARIANTS = {"armv7l": "v7", "armv6l": "v6"}
_NORMAL = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an image runs on; `variant` is, for example, v8 of arm64."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: list[str] = field(default_factory=list, name="os.features")
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    media_type: str = ""
    digest: str = ""
    size: int = 0
    urls: list[str] = []
    annotations: dict[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""

    @property
    def attests(self) -> str:
        """The digest of the manifest that this one attests to (BuildKit's attestation storage);
        "" for an image's own."""
        if self.annotations.get("vnd.docker.reference.type") != "attestation-manifest":
            return ""
        return self.annotations.get("vnd.docker.reference.digest", "unknown")


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """One image: its config and its layers, lowest first."""

    schema_version: int = 0
    media_type: str = ""
    config: Descriptor = Descriptor()
    layers: list[Descriptor] = []
    manifests: list[Descriptor] = []  # of an index
    annotations: dict[str, str] = {}

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES or (bool(self.manifests) and not self.layers)


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    created: str = ""
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFS(msgspec.Struct, frozen=True):
    type: str = "layers"
    diff_ids: list[str] = []


class ImageConfig(msgspec.Struct, frozen=True):
    """An image's config document; `config` is what its containers start from."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    variant: str = ""
    created: str = ""
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    container: str = ""
    config: ContainerConfig = ContainerConfig()
    rootfs: RootFS = RootFS()
    history: list[History] = []

    @property
    def platform(self) -> Platform:
        return Platform(self.architecture, self.os, self.os_version, [], self.variant)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_manifest(data: bytes, media_type: str = "") -> Manifest:
    """A manifest or index; its own `mediaType` wins over the one it was sent with."""
    manifest = _read(data, Manifest, "manifest")
    if not manifest.media_type and media_type:
        manifest = msgspec.structs.replace(manifest, media_type=media_type.partition(";")[0])
    if manifest.schema_version != 2:
        raise InvalidParameter(
            "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, "
            "schema 1 support has been removed"
        )
    return manifest


def read_config(data: bytes) -> ImageConfig:
    return _read(data, ImageConfig, "image config")


def _read(data: bytes, shape: type[T], what: str) -> T:
    try:
        return msgspec.convert(without_nulls(msgspec.json.decode(data)), shape)
    except msgspec.MsgspecError as error:
        raise InvalidParameter(f"invalid {what}: {error}") from error


def host_platform() -> Platform:
    machine = _host.machine()
    return Platform(
        _ARCHITECTURES.get(machine, machine), "linux", variant=_VARIANTS.get(machine, "")
    )


def parse_platform(text: str) -> Platform:
    """`os[/arch[/variant]]`, or an architecture alone, as `--platform` takes it."""
    parts = text.lower().split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts) or len(parts) > 3:
        raise InvalidParameter(f'"{text}": invalid platform')
    if len(parts) == 1:
        if parts[0] in ("linux", "windows", "freebsd", "darwin"):
            parts.append(host_platform().architecture)
        else:
            parts.insert(0, "linux")
    architecture = _NORMAL.get(parts[1], parts[1])
    variant = parts[2] if len(parts) > 2 else ""
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    return Platform(architecture, parts[0], variant=variant)


def platform_matches(wanted: Platform, offered: Platform) -> bool:
    """Whether an image for `offered` is what was asked for with `wanted`."""
    if wanted.os != (offered.os or "linux") or not offered.architecture:
        return False
    if wanted.architecture != _NORMAL.get(offered.architecture, offered.architecture):
        return False
    if not wanted.variant:
        return True
    if wanted.architecture == "arm":
        return offered.variant in ("", wanted.variant) or offered.variant < wanted.variant
    return wanted.variant == offered.variant


def select_platform(manifests: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """The best entry of an index: the exact variant first, then the index's own order.

    What attests to an image is none, whatever platform it gives.
    """
    offered = [m for m in manifests if not m.attests]
    found = [m for m in offered if m.platform and platform_matches(wanted, m.platform)]
    if not found:
        return None
    exact = [m for m in found if m.platform and m.platform.variant == wanted.variant]
    return (exact or found)[0]


def parse_time(text: str) -> int:
    """RFC 3339 to nanoseconds since the epoch; 0 for none or for Go's zero time."""
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", text
    )
    if not found or text.startswith("0001-"):
        return 0
    zone = "+00:00" if found[4] in "Zz" else found[4]
    try:
        seconds = int(datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").timestamp())
    except ValueError:
        return 0
    return seconds * 1_000_000_000 + int((found[3] or "0")[:9].ljust(9, "0"))


def format_time(ns: int) -> str:
    """Nanoseconds since the epoch as Go prints RFC 3339: no trailing zeros in the fraction."""
    seconds, rest = divmod(ns, 1_000_000_000)
    stamp = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{stamp}{fraction}Z"
