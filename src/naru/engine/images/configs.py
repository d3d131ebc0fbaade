"""Image configs that this engine writes: for import, commit and build. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from naru.spec.containers import ContainerConfig
from naru.spec.oci import Platform, format_time


def container_config(config: ContainerConfig) -> dict[str, Any]:
    """The `config` member as Docker writes it: always the same members, the rest where set."""
    given = msgspec.to_builtins(config)
    always: dict[str, Any] = {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
        "AttachStderr": False, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None,
        "Cmd": None, "Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None,
        "OnBuild": None, "Labels": None,
    }  # fmt: skip
    written = {}
    for name, value in given.items():
        if name in always:
            written[name] = value if value not in ([], {}, "") else always[name]
        elif value not in (None, [], {}, "", False, 0):
            written[name] = value
    return written


def image_config(
    *,
    platform: Platform,
    config: ContainerConfig,
    created: int,
    diff_ids: list[str],
    history: list[dict[str, Any]],
    author: str = "",
    comment: str = "",
    container: str = "",
    container_image: ContainerConfig | None = None,
    version: str,
) -> bytes:
    """The document whose digest is the image's id. `created`: ns since the epoch."""
    document: dict[str, Any] = {
        "architecture": platform.architecture,
        "config": container_config(config),
        "created": format_time(created),
        "docker_version": version,
        "history": history,
        "os": platform.os,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    if platform.variant:
        document["variant"] = platform.variant
    if author:
        document["author"] = author
    if comment:
        document["comment"] = comment
    if container:
        document["container"] = container
    if container_image is not None:
        document["container_config"] = container_config(container_image)
    return msgspec.json.encode(document, order="sorted")


def history_entry(
    *, created: int, created_by: str = "", author: str = "", comment: str = "", empty: bool = False
) -> dict[str, Any]:
    entry: dict[str, Any] = {"created": format_time(created)}
    if created_by:
        entry["created_by"] = created_by
    if author:
        entry["author"] = author
    if comment:
        entry["comment"] = comment
    if empty:
        entry["empty_layer"] = True
    return entry
