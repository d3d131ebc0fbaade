"""API versions: the `/vX.Y/` prefix, which ones are served, how documents differ between them.

Documents are built in the newest shape. `shape` turns one into what an older client expects by
applying, newest first, every row of `SHAPES` that came after the client's version. What a newer
version leaves out, and nothing in the rest tells again, is in the document too: rows of `OMISSIONS`
take it from newer clients. A difference between versions is a row, never an `if` in a handler.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from naru.api import old_shapes as old
from naru.api.messages import Version
from naru.api.old_shapes import Change, Document, each, with_members, within, without, without_empty
from naru.spec.errors import InvalidParameter

NEWEST: Version = (1, 55)
OLDEST: Version = (1, 24)

_PREFIX = re.compile(r"/v(?P<version>[0-9.]+)(?P<rest>/.*)", re.DOTALL)
_VERSION = re.compile(r"(\d+)\.(\d+)")


def text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[str | None, str]:
    """("1.41", "/info") for `/v1.41/info`; (None, path) when no version is asked for."""
    found = _PREFIX.fullmatch(path)
    return (found["version"], found["rest"]) if found else (None, path)


def checked(asked: str | None) -> Version:
    """The version that a request speaks; no prefix means the newest."""
    if asked is None:
        return NEWEST
    found = _VERSION.match(asked)
    version = (int(found[1]), int(found[2])) if found else (int(asked.split(".")[0] or 0), 0)
    if version < OLDEST:
        raise InvalidParameter(
            f"client version {asked} is too old. Minimum supported API version is {text(OLDEST)},"
            " please upgrade your client to a newer version"
        )
    if version > NEWEST:
        raise InvalidParameter(
            f"client version {asked} is too new. Maximum supported API version is {text(NEWEST)}"
        )
    return version


class Shape(NamedTuple):
    """`change` gives a `kind` of document the form that it had before `since`."""

    kind: str
    since: Version
    change: Change


class Omission(NamedTuple):
    """`change` takes from a `kind` of document what it has no more from `since` on."""

    kind: str
    since: Version
    change: Change


def shape(version: Version, kind: str, document: Document) -> Document:
    """`document`, built for `NEWEST`, as a client of `version` expects a `kind`; never mutated."""
    for change in changes(version, kind):
        document = change(document)
    return document


def shape_all(version: Version, kind: str, documents: list[Document]) -> list[Document]:
    """`shape` for a list; the list itself when no row concerns this version."""
    needed = changes(version, kind)
    if not needed:
        return documents
    return [_applied(needed, document) for document in documents]


def changes(version: Version, kind: str) -> list[Change]:
    """What `shape` does to one document, in its order: for documents that come one by one."""
    return [
        *(row.change for row in OMISSIONS if row.kind == kind and version >= row.since),
        *(row.change for row in SHAPES if row.kind == kind and version < row.since),
    ]


def _applied(needed: list[Change], document: Document) -> Document:
    for change in needed:
        document = change(document)
    return document


# Newest first: a row undoes what its version brought.
SHAPES: tuple[Shape, ...] = (
    Shape("df", (1, 53), old.listed_usage),
    Shape("image.inspect", (1, 53), without("Identity")),
    Shape("df", (1, 52), without("ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage")),
    Shape("df", (1, 52), each("Containers", without("Health"))),
    Shape("event", (1, 52), old.first_event_members),
    Shape("container.list", (1, 52), without("Health")),
    Shape("container.inspect", (1, 52), within("NetworkSettings", old.default_bridge_settings)),
    Shape("container.stats", (1, 52), without("os_type")),
    Shape("network.list", (1, 52), old.no_members),
    Shape("network.inspect", (1, 52), without("Status")),
    Shape("image.list", (1, 51), with_members(old.containers_unknown)),
    Shape("image.inspect", (1, 50), within("Config", with_members(old.full_image_config))),
    Shape("info", (1, 50), without("DiscoveredDevices")),
    Shape("info", (1, 50), with_members(old.bridge_nf)),
    Shape("info", (1, 49), without("FirewallBackend")),
    Shape("info", (1, 49), with_members(old.expected_commits)),
    Shape("container.inspect", (1, 48), without("ImageManifestDescriptor")),
    Shape("container.list", (1, 48), without("ImageManifestDescriptor")),
    Shape("image.inspect", (1, 48), without("Descriptor", "Manifests")),
    Shape("image.list", (1, 48), without("Descriptor")),
    Shape("info", (1, 47), with_members(old.no_artifacts_allowed)),
    Shape("progress", (1, 46), old.no_note_of_an_index),
    Shape("info", (1, 46), without("Containerd")),
    Shape("container.list", (1, 46), within("HostConfig", without("Annotations"))),
    Shape("container.inspect", (1, 45), with_members(old.short_id_alias)),
    Shape("image.inspect", (1, 45), with_members(old.image_container)),
    Shape("info", (1, 44), each("Runtimes", without("status"))),
    Shape("image.inspect", (1, 44), with_members(old.virtual_size)),
    Shape("image.list", (1, 44), with_members(old.virtual_size)),
    Shape("df", (1, 44), each("Images", with_members(old.virtual_size))),
    Shape("image.list", (1, 43), with_members(old.none_tags)),
    Shape("df", (1, 42), with_members(old.builder_size)),
    Shape("info", (1, 25), with_members(old.option_names)),
)

OMISSIONS: tuple[Omission, ...] = (
    Omission("df", (1, 52), within("ImageUsage", each("Items", without("VirtualSize")))),
    Omission("image.inspect", (1, 52), within("Config", old.only_image_config)),
    Omission(
        "image.inspect", (1, 52), without_empty("Parent", "Comment", "DockerVersion", "Author")
    ),
    Omission("container.inspect", (1, 52), within("Config", without("MacAddress"))),
    Omission("container.inspect", (1, 52), within("Config", without_empty("OnBuild"))),
    Omission("container.inspect", (1, 52), within("HostConfig", without("KernelMemoryTCP"))),
    Omission("progress", (1, 52), without("progress")),
)
