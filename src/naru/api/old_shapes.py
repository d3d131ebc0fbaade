"""What documents of the Engine API had before: each function gives one an older form. Pure.

Which version each belongs to is said by the rows of `versions.SHAPES` and `versions.OMISSIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Document = dict[str, Any]
Change = Callable[[Document], Document]


def without(*names: str) -> Change:
    def change(document: Document) -> Document:
        return {key: value for key, value in document.items() if key not in names}

    return change


def without_empty(*names: str) -> Change:
    def change(document: Document) -> Document:
        return {key: value for key, value in document.items() if value or key not in names}

    return change


def within(name: str, change: Change) -> Change:
    """Apply `change` to the object in member `name`, where there is one."""

    def outer(document: Document) -> Document:
        inner = document.get(name)
        return {**document, name: change(inner)} if isinstance(inner, dict) else document

    return outer


def each(name: str, change: Change) -> Change:
    """Apply `change` to every object in the list or mapping in member `name`."""

    def outer(document: Document) -> Document:
        inner = document.get(name)
        if isinstance(inner, list):
            return {**document, name: [change(item) for item in inner]}
        if isinstance(inner, dict):
            return {**document, name: {key: change(item) for key, item in inner.items()}}
        return document

    return outer


def with_members(make: Change) -> Change:
    """Add the members that `make` computes from the document."""
    return lambda document: {**document, **make(document)}


def no_note_of_an_index(message: Document) -> Document:
    """Nothing in place of the note that a manifest went in place of its index."""
    aux = message.get("aux")
    noted = isinstance(aux, dict) and "manifestPushedInsteadOfIndex" in aux
    return {} if noted else message


def virtual_size(document: Document) -> Document:
    return {"VirtualSize": document.get("Size", 0)}


def none_tags(document: Document) -> Document:
    if document.get("RepoTags") or document.get("RepoDigests"):
        return {}
    return {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}


def expected_commits(document: Document) -> Document:
    names = ("ContainerdCommit", "RuncCommit", "InitCommit")
    commits = {name: document.get(name) or {"ID": ""} for name in names}
    return {name: {**commit, "Expected": commit["ID"]} for name, commit in commits.items()}


def no_artifacts_allowed(document: Document) -> Document:
    old = {
        "AllowNondistributableArtifactsCIDRs": None,
        "AllowNondistributableArtifactsHostnames": None,
    }
    return {"RegistryConfig": {**old, **(document.get("RegistryConfig") or {})}}


def image_container(document: Document) -> Document:
    return {
        "Container": document.get("Container") or "",
        "ContainerConfig": document.get("ContainerConfig") or {},
    }


def option_names(document: Document) -> Document:
    """`name=seccomp,profile=builtin` was once plain `seccomp`."""
    names = []
    for option in document.get("SecurityOptions") or []:
        pairs = dict(pair.partition("=")[::2] for pair in option.split(","))
        names.append(pairs.get("name", option))
    return {"SecurityOptions": names, "ExecutionDriver": "<not supported>"}


def short_id_alias(document: Document) -> Document:
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


def bridge_nf(document: Document) -> Document:
    return {"BridgeNfIptables": False, "BridgeNfIp6tables": False}


def full_image_config(config: Document) -> Document:
    """Before 1.50 an image's configuration had every member that a container's has."""
    absent: Document = {
        "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Cmd": None,
        "Domainname": "", "Entrypoint": None, "Env": None, "Hostname": "", "Image": "",
        "Labels": None, "OnBuild": None, "OpenStdin": False, "StdinOnce": False, "Tty": False,
        "User": "", "Volumes": None, "WorkingDir": "",
    }  # fmt: skip
    return {**absent, **config}


def builder_size(document: Document) -> Document:
    return {"BuilderSize": sum(item.get("Size", 0) for item in document.get("BuildCache") or ())}


def containers_unknown(document: Document) -> Document:
    return {"Containers": -1}


# What Docker's image configuration is made of since 1.52: that of OCI, and four of its own.
_IMAGE_CONFIG = frozenset({
    "ArgsEscaped", "Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild",
    "Shell", "StopSignal", "User", "Volumes", "WorkingDir",
})  # fmt: skip


def only_image_config(config: Document) -> Document:
    return {name: value for name, value in config.items() if value and name in _IMAGE_CONFIG}


def listed_usage(document: Document) -> Document:
    """Before 1.53 `GET /system/df` had one list for each type, beside 1.52's sums."""
    found: Document = {"LayersSize": (document.get("ImageUsage") or {}).get("TotalSize", 0)}
    rest = dict(document)
    for usage, name in (
        ("ImageUsage", "Images"),
        ("ContainerUsage", "Containers"),
        ("VolumeUsage", "Volumes"),
        ("BuildCacheUsage", "BuildCache"),
    ):
        if usage in document:
            found[name] = document[usage].get("Items") or []
            rest[usage] = without("Items")(document[usage])
    return {**found, **rest}


def first_event_members(event: Document) -> Document:
    """The members of API < 1.22, which clients read up to 1.51."""
    if event["Type"] not in ("container", "image"):
        return event
    actor = event["Actor"]
    first: Document = {"status": event["Action"], "id": actor["ID"]}
    if event["Type"] == "container" and actor["Attributes"].get("image"):
        first["from"] = actor["Attributes"]["image"]
    return {**first, **event}


def default_bridge_settings(settings: Document) -> Document:
    """Those of the default bridge beside `Networks`, as they were before Docker had networks."""
    first = (settings.get("Networks") or {}).get("bridge") or {}
    return {
        "Bridge": "",
        **without("Networks")(settings),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": first.get("EndpointID", ""),
        "Gateway": first.get("Gateway", ""),
        "GlobalIPv6Address": first.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": first.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "IPv6Gateway": first.get("IPv6Gateway", ""),
        "MacAddress": first.get("MacAddress", ""),
        "Networks": settings.get("Networks"),
    }


def no_members(network: Document) -> Document:
    """Before 1.52 a list showed the containers of no network."""
    last = ("Options", "Labels")
    return {
        **without(*last)(network),
        "Containers": {},
        **{name: network[name] for name in last if name in network},
    }
