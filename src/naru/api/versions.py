"""API versions: the `/vX.Y/` prefix, which ones are served, how documents differ between them.

Documents are built in the newest shape. `shape` turns one into what an older client expects by
applying, newest first, every row of `SHAPES` that came after the client's version. A difference
between versions is a row here, never an `if` in a handler.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from naru.api.messages import Version
from naru.spec.errors import InvalidParameter

NEWEST: Version = (1, 50)
OLDEST: Version = (1, 24)

Document = dict[str, Any]

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
    change: Callable[[Document], Document]


def shape(version: Version, kind: str, document: Document) -> Document:
    """`document`, built for `NEWEST`, as a client of `version` expects a `kind`; never mutated."""
    for row in SHAPES:
        if row.kind == kind and version < row.since:
            document = row.change(document)
    return document


def shape_all(version: Version, kind: str, documents: list[Document]) -> list[Document]:
    """`shape` for a list; the list itself when no row concerns this version."""
    changes = [row.change for row in SHAPES if row.kind == kind and version < row.since]
    if not changes:
        return documents
    return [_applied(changes, document) for document in documents]


def _applied(changes: list[Callable[[Document], Document]], document: Document) -> Document:
    for change in changes:
        document = change(document)
    return document


def without(*names: str) -> Callable[[Document], Document]:
    def change(document: Document) -> Document:
        return {key: value for key, value in document.items() if key not in names}

    return change


def within(name: str, change: Callable[[Document], Document]) -> Callable[[Document], Document]:
    """Apply `change` to the object in member `name`, where there is one."""

    def outer(document: Document) -> Document:
        inner = document.get(name)
        return {**document, name: change(inner)} if isinstance(inner, dict) else document

    return outer


def each(name: str, change: Callable[[Document], Document]) -> Callable[[Document], Document]:
    """Apply `change` to every object in the list or mapping in member `name`."""

    def outer(document: Document) -> Document:
        inner = document.get(name)
        if isinstance(inner, list):
            return {**document, name: [change(item) for item in inner]}
        if isinstance(inner, dict):
            return {**document, name: {key: change(item) for key, item in inner.items()}}
        return document

    return outer


def with_members(make: Callable[[Document], Document]) -> Callable[[Document], Document]:
    """Add the members that `make` computes from the document."""
    return lambda document: {**document, **make(document)}


def _virtual_size(document: Document) -> Document:
    return {"VirtualSize": document.get("Size", 0)}


def _none_tags(document: Document) -> Document:
    if document.get("RepoTags") or document.get("RepoDigests"):
        return {}
    return {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}


def _expected_commits(document: Document) -> Document:
    names = ("ContainerdCommit", "RuncCommit", "InitCommit")
    commits = {name: document.get(name) or {"ID": ""} for name in names}
    return {name: {**commit, "Expected": commit["ID"]} for name, commit in commits.items()}


def _no_artifacts_allowed(document: Document) -> Document:
    old = {
        "AllowNondistributableArtifactsCIDRs": None,
        "AllowNondistributableArtifactsHostnames": None,
    }
    return {"RegistryConfig": {**old, **(document.get("RegistryConfig") or {})}}


def _image_container(document: Document) -> Document:
    return {
        "Container": document.get("Container") or "",
        "ContainerConfig": document.get("ContainerConfig") or {},
    }


def _option_names(document: Document) -> Document:
    """`name=seccomp,profile=builtin` was once plain `seccomp`."""
    names = []
    for option in document.get("SecurityOptions") or []:
        pairs = dict(pair.partition("=")[::2] for pair in option.split(","))
        names.append(pairs.get("name", option))
    return {"SecurityOptions": names, "ExecutionDriver": "<not supported>"}


def _short_id_alias(document: Document) -> Document:
    """Before 1.45 the aliases on user-defined networks held the short id and the host name."""
    networks = (document.get("NetworkSettings") or {}).get("Networks")
    if not networks:
        return {}
    own = [document.get("Id", "")[:12], (document.get("Config") or {}).get("Hostname", "")]
    changed = {}
    for name, endpoint in networks.items():
        if name in ("bridge", "host", "none", "default") or endpoint is None:
            changed[name] = endpoint
            continue
        aliases = list(endpoint.get("Aliases") or [])
        aliases += [alias for alias in own if alias and alias not in aliases]
        changed[name] = {**endpoint, "Aliases": aliases}
    return {"NetworkSettings": {**document["NetworkSettings"], "Networks": changed}}


def _bridge_nf(document: Document) -> Document:
    return {"BridgeNfIptables": False, "BridgeNfIp6tables": False}


def _old_image_config(config: Document) -> Document:
    """Before 1.50 an image's configuration had every member that a container's has."""
    absent: Document = {
        "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Cmd": None,
        "Domainname": "", "Entrypoint": None, "Env": None, "Hostname": "", "Image": "",
        "Labels": None, "OnBuild": None, "OpenStdin": False, "StdinOnce": False, "Tty": False,
        "User": "", "Volumes": None, "WorkingDir": "",
    }  # fmt: skip
    return {**absent, **config}


def _builder_size(document: Document) -> Document:
    return {"BuilderSize": sum(item.get("Size", 0) for item in document.get("BuildCache") or ())}


def _containers_unknown(document: Document) -> Document:
    return {"Containers": -1}


# Newest first: a row undoes what its version brought.
SHAPES: tuple[Shape, ...] = (
    Shape("image.list", (1, 51), with_members(_containers_unknown)),
    Shape("image.inspect", (1, 50), within("Config", with_members(_old_image_config))),
    Shape("info", (1, 50), without("DiscoveredDevices")),
    Shape("info", (1, 50), with_members(_bridge_nf)),
    Shape("info", (1, 49), without("FirewallBackend")),
    Shape("info", (1, 49), with_members(_expected_commits)),
    Shape("container.inspect", (1, 48), without("ImageManifestDescriptor")),
    Shape("container.list", (1, 48), without("ImageManifestDescriptor")),
    Shape("image.inspect", (1, 48), without("Descriptor", "Manifests")),
    Shape("image.list", (1, 48), without("Descriptor")),
    Shape("info", (1, 47), with_members(_no_artifacts_allowed)),
    Shape("info", (1, 46), without("Containerd")),
    Shape("container.list", (1, 46), within("HostConfig", without("Annotations"))),
    Shape("container.inspect", (1, 45), with_members(_short_id_alias)),
    Shape("image.inspect", (1, 45), with_members(_image_container)),
    Shape("info", (1, 44), each("Runtimes", without("status"))),
    Shape("image.inspect", (1, 44), with_members(_virtual_size)),
    Shape("image.list", (1, 44), with_members(_virtual_size)),
    Shape("df", (1, 44), each("Images", with_members(_virtual_size))),
    Shape("image.list", (1, 43), with_members(_none_tags)),
    Shape("df", (1, 42), with_members(_builder_size)),
    Shape("info", (1, 25), with_members(_option_names)),
)
