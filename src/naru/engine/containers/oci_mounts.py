"""Everything a container has mounted, as OCI `mounts`: Docker's defaults, then its own. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from naru.engine.containers.mounts import MountRequest
from naru.spec.containers import HostConfig, MountPoint

INIT_PATH = "/sbin/docker-init"

_OWN_FILES = ("resolv.conf", "hostname", "hosts")
_KERNEL_MOUNTS = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})
_OPPOSITES = {
    "exec": "noexec",
    "suid": "nosuid",
    "dev": "nodev",
    "rw": "ro",
    "atime": "noatime",
    "diratime": "nodiratime",
}
_OPPOSITES |= {value: key for key, value in _OPPOSITES.items()}


class BoundMount(msgspec.Struct, frozen=True):
    """A resolved mount with the wishes of the request that it came from."""

    point: MountPoint
    source: str
    recursive: bool = True
    read_only_recursive: bool | None = None
    tmpfs_options: str = ""


def bound(point: MountPoint, request: MountRequest | None) -> BoundMount:
    """`request` is None for a mount taken over by `--volumes-from`."""
    if request is None:
        return BoundMount(point, point.source)
    return BoundMount(
        point,
        point.source,
        request.recursive,
        request.read_only_recursive,
        request.tmpfs_options,
    )


def oci_mounts(
    host: HostConfig,
    own: Sequence[BoundMount],
    *,
    files: Path | None,
    shm: Path | None,
    init: Path | None,
    recursive_read_only: bool,
) -> list[dict[str, Any]]:
    """In the order in which to mount: parents before children.

    `files` is the directory of the container's own hosts, hostname and resolv.conf; `shm` a tmpfs
    on the host to share as /dev/shm.
    """
    mounts = {mount["destination"]: mount for mount in _defaults(host, shm)}
    if files is not None:
        for name in _OWN_FILES:
            mounts[f"/etc/{name}"] = _mount(
                f"/etc/{name}", "bind", str(files / name), ["rbind", "rprivate"]
            )
    if init is not None:
        mounts[INIT_PATH] = _mount(INIT_PATH, "bind", str(init), ["bind", "ro"])
    for each in own:
        mounts[each.point.destination] = _own_mount(each, recursive_read_only)
    for target, options in host.tmpfs.items():
        destination = posixpath.normpath(target)
        mounts[destination] = _tmpfs(destination, options)
    if host.readonly_rootfs:
        users = {each.point.destination for each in own} | {
            posixpath.normpath(target) for target in host.tmpfs
        }
        for destination, mount in mounts.items():
            # A bind of the engine's own would be a writable hole in a read-only root.
            if destination not in users | _KERNEL_MOUNTS and "ro" not in mount["options"]:
                mount["options"] = [*mount["options"], "ro"]
    return sorted(mounts.values(), key=lambda mount: _depth(mount["destination"]))


def _defaults(host: HostConfig, shm: Path | None) -> list[dict[str, Any]]:
    read_only = [] if host.privileged else ["ro"]
    mounts = [
        _mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", *read_only]),
        _mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            ["relatime", "nosuid", "noexec", "nodev", *read_only],
        ),
    ]
    if host.ipc_mode == "host":
        mounts.append(_mount("/dev/mqueue", "bind", "/dev/mqueue", ["rbind"]))
        mounts.append(_mount("/dev/shm", "bind", "/dev/shm", ["rbind"]))
        return mounts
    mounts.append(_mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]))
    if shm is not None:
        mounts.append(_mount("/dev/shm", "bind", str(shm), ["rbind", "rprivate"]))
    elif host.ipc_mode != "none":
        mounts.append(
            _mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                ["nosuid", "noexec", "nodev", "mode=1777", f"size={host.shm_size}"],
            )
        )
    return mounts


def _own_mount(each: BoundMount, recursive_read_only: bool) -> dict[str, Any]:
    point = each.point
    if point.type == "tmpfs":
        return _tmpfs(point.destination, each.tmpfs_options)
    options = ["rbind" if each.recursive else "bind"]
    if not point.rw:
        options.append("ro")
        wants_all = each.read_only_recursive is not False and each.recursive
        if wants_all and recursive_read_only:
            options.append("rro")
    options.append(point.propagation or "rprivate")
    return _mount(point.destination, "bind", each.source, options)


def _tmpfs(destination: str, text: str) -> dict[str, Any]:
    options = ["noexec", "nosuid", "nodev", *filter(None, text.split(","))]
    return _mount(destination, "tmpfs", "tmpfs", merged_options(options))


def merged_options(options: Sequence[str]) -> list[str]:
    """Later options win over earlier ones that say the opposite, or the same key otherwise."""
    kept: dict[str, str] = {}
    for option in options:
        key = option.partition("=")[0]
        kept.pop(_OPPOSITES.get(key, ""), None)
        kept.pop(key, None)
        kept[key] = option
    return list(kept.values())


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _depth(destination: str) -> int:
    return len(list(filter(None, destination.split("/"))))


def root_propagation(own: Sequence[BoundMount]) -> str | None:
    """What the root must be so that the wished propagations can work at all."""
    wished = {each.point.propagation.removeprefix("r") for each in own}
    if "shared" in wished:
        return "shared"
    return "slave" if "slave" in wished else None
