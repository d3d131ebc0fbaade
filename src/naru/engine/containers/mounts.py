"""What a container asks to have mounted: `Binds`, `Mounts`, image and anonymous volumes.

Pure parsing with Docker's texts. What is created or found on the host for a request (a volume's
directory, a missing bind source) is `create`'s work.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import msgspec
from msgspec import field
from msgspec.structs import replace

from naru.spec.containers import BindOptions, ContainerConfig, HostConfig, MountPoint, MountSpec
from naru.spec.errors import InvalidParameter, Unsupported

DEFAULT_PROPAGATION = "rprivate"
_PROPAGATIONS = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
# SELinux labels and the macOS consistency hints mean nothing here, as on a dockerd without SELinux.
_MODE_GROUPS: tuple[frozenset[str], ...] = (
    frozenset({"rw", "ro"}),
    frozenset({"z", "Z"}),
    _PROPAGATIONS,
    frozenset({"nocopy"}),
    frozenset({"consistent", "cached", "delegated"}),
)
_TMPFS_FLAGS = _PROPAGATIONS | {
    "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async",
    "dirsync", "remount", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "bind", "rbind", "unbindable",
    "runbindable",
}  # fmt: skip
_TMPFS_VALUES = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


class MountRequest(msgspec.Struct, frozen=True):
    """One mount asked for. `source` is a host path, a volume's name, or "" for a new volume."""

    type: str
    destination: str
    source: str = ""
    rw: bool = True
    mode: str = ""
    propagation: str = ""
    copy: bool = True  # fill an empty volume with what the image has at `destination`
    create_source: bool = False  # a bind's missing host directory is made
    recursive: bool = True
    read_only_recursive: bool | None = None  # None: where the kernel can
    driver: str = ""
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    tmpfs_options: str = ""
    made: bool = False  # `source` names a volume that is made for this container

    @property
    def anonymous(self) -> bool:
        return self.type == "volume" and not self.source


def requested(config: ContainerConfig, host: HostConfig) -> list[MountRequest]:
    """All requests but those of `VolumesFrom`, at most one per destination."""
    requests: dict[str, MountRequest] = {}
    tmpfs = {posixpath.normpath(destination) for destination in host.tmpfs}
    for bind in host.binds:
        request = parse_bind(bind, host.volume_driver)
        if request.destination in tmpfs or request.destination in requests:
            raise InvalidParameter(f"Duplicate mount point: {request.destination}")
        requests[request.destination] = request
    for spec in host.mounts:
        request = parse_mount(spec)
        if request.destination in tmpfs or request.destination in requests:
            raise InvalidParameter(f"Duplicate mount point: {request.destination}")
        requests[request.destination] = request
    for target in config.volumes:
        request = _anonymous(target, host.volume_driver)
        # An image's volume yields to whatever else is mounted there.
        if request.destination not in tmpfs:
            requests.setdefault(request.destination, request)
    return list(requests.values())


def parse_bind(text: str, volume_driver: str = "") -> MountRequest:
    """`/host:/path[:mode]`, `volume:/path[:mode]`, `/path`."""
    parts = text.split(":")
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and _valid_mode(parts[1])):
        raise InvalidParameter(f"invalid volume specification: '{text}'")
    mode = parts[2] if len(parts) == 3 else ""
    if not _valid_mode(mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    words = mode.split(",")
    propagation = next((word for word in words if word in _PROPAGATIONS), "")
    try:
        _check_target(target)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid volume specification: '{text}': {error}") from None
    destination = posixpath.normpath(target)
    if source.startswith("/"):
        return MountRequest(
            type="bind",
            source=posixpath.normpath(source),
            destination=destination,
            rw="ro" not in words,
            mode=mode,
            propagation=propagation or DEFAULT_PROPAGATION,
            create_source=True,
        )
    if propagation:
        raise InvalidParameter(
            f"invalid volume specification: '{text}': invalid mount config for type \"volume\": "
            "field BindOptions must not be specified"
        )
    return MountRequest(
        type="volume",
        source=source,
        destination=destination,
        rw="ro" not in words,
        mode=mode or ("z" if source else ""),
        copy="nocopy" not in words,
        driver=volume_driver,
    )


def parse_mount(spec: MountSpec) -> MountRequest:
    """One of `HostConfig.Mounts`."""
    try:
        return _parse_mount(spec)
    except InvalidParameter as error:
        raise InvalidParameter(f'invalid mount config for type "{spec.type}": {error}') from None


def _parse_mount(spec: MountSpec) -> MountRequest:
    if not spec.target:
        raise InvalidParameter("field Target must not be empty")
    _check_target(spec.target)
    request = MountRequest(
        type=spec.type, destination=posixpath.normpath(spec.target), rw=not spec.read_only
    )
    match spec.type:
        case "bind":
            return _parse_bind_mount(spec, request)
        case "volume":
            return _parse_volume_mount(spec, request)
        case "tmpfs":
            if spec.bind_options is not None:
                raise InvalidParameter("field BindOptions must not be specified")
            if spec.source:
                raise InvalidParameter("field Source must not be specified")
            return replace(request, tmpfs_options=_tmpfs_options(spec))
        case "image" | "cluster":
            raise Unsupported(f"mounts of type {spec.type} are not supported by this engine")
        case _:
            raise InvalidParameter("mount type unknown")


def _parse_bind_mount(spec: MountSpec, request: MountRequest) -> MountRequest:
    options = spec.bind_options or BindOptions()
    if not spec.source:
        raise InvalidParameter("field Source must not be empty")
    if options.propagation and options.propagation not in _PROPAGATIONS:
        raise InvalidParameter(f"invalid propagation mode: {options.propagation}")
    if spec.volume_options is not None:
        raise InvalidParameter("field VolumeOptions must not be specified")
    _check_absolute(spec.source)
    if options.read_only_non_recursive and not spec.read_only:
        raise InvalidParameter("mount option 'ReadOnlyNonRecursive' requires 'ReadOnly'")
    if options.read_only_force_recursive and not spec.read_only:
        raise InvalidParameter("mount option 'ReadOnlyForceRecursive' requires 'ReadOnly'")
    read_only_recursive: bool | None = None
    if options.read_only_non_recursive:
        read_only_recursive = False
    elif options.read_only_force_recursive:
        read_only_recursive = True
    return replace(
        request,
        source=posixpath.normpath(spec.source),
        propagation=options.propagation or DEFAULT_PROPAGATION,
        create_source=options.create_mountpoint,
        recursive=not options.non_recursive,
        read_only_recursive=read_only_recursive,
    )


def _parse_volume_mount(spec: MountSpec, request: MountRequest) -> MountRequest:
    options = spec.volume_options
    if spec.bind_options is not None:
        raise InvalidParameter("field BindOptions must not be specified")
    if spec.read_only and not spec.source:
        raise InvalidParameter("must not set ReadOnly mode when using anonymous volumes")
    request = replace(request, source=spec.source, mode="z")
    if options is None:
        return request
    if options.subpath:
        raise Unsupported("VolumeOptions.Subpath is not supported by this engine")
    driver = options.driver_config
    return replace(
        request,
        copy=not options.no_copy,
        labels=options.labels,
        driver=driver.name if driver else "",
        driver_options=driver.options if driver else {},
    )


def _tmpfs_options(spec: MountSpec) -> str:
    words = ["ro"] if spec.read_only else []
    options = spec.tmpfs_options
    if options is None:
        return ",".join(words)
    if options.mode:
        words.append(f"mode={options.mode:o}")
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    for option in options.options:
        if not 1 <= len(option) <= 2:
            raise InvalidParameter("invalid option array length")
        if option[0] not in ("exec", "noexec"):
            raise InvalidParameter(f"invalid option: {option[0]}")
        words.append("=".join(option))
    return ",".join(words)


def parse_volumes_from(text: str) -> tuple[str, str]:
    """ "container[:mode]" -> (container, mode)."""
    if not text:
        raise InvalidParameter("volumes-from specification cannot be an empty string")
    ref, _, mode = text.partition(":")
    words = mode.split(",") if mode else []
    if not _valid_mode(mode) or _PROPAGATIONS.intersection(words) or "nocopy" in words:
        raise InvalidParameter(f"invalid mode: {mode}")
    return ref, mode or "rw"


def inherited(mounts: Iterable[MountPoint], mode: str) -> list[MountPoint]:
    """Another container's mounts as `--volumes-from` takes them over; its tmpfs are its own."""
    read_only = "ro" in mode.split(",")
    return [
        MountPoint(
            type=mount.type,
            name=mount.name,
            source=mount.source,
            destination=mount.destination,
            driver=mount.driver,
            mode=mode if mode != "rw" else "",
            rw=mount.rw and not read_only,
            propagation=mount.propagation,
        )
        for mount in mounts
        if mount.type != "tmpfs"
    ]


def check_tmpfs(destination: str, options: str) -> None:
    """`--tmpfs destination:options`: an option that no tmpfs knows would only fail the start."""
    _check_target(destination)
    for option in filter(None, options.split(",")):
        key, equals, _ = option.partition("=")
        if key not in (_TMPFS_VALUES if equals else _TMPFS_FLAGS):
            raise InvalidParameter(f'invalid tmpfs option "{option}"')


def _anonymous(target: str, driver: str) -> MountRequest:
    try:
        _check_target(target)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid volume specification: '{target}': {error}") from None
    return MountRequest(type="volume", destination=posixpath.normpath(target), driver=driver)


def _check_target(path: str) -> None:
    if posixpath.normpath(path) == "/":
        raise InvalidParameter("invalid specification: destination can't be '/'")
    _check_absolute(path)


def _check_absolute(path: str) -> None:
    if not path.startswith("/"):
        raise InvalidParameter(f"invalid mount path: '{path}' mount path must be absolute")


def _valid_mode(mode: str) -> bool:
    if not mode:
        return True
    words = mode.split(",")
    return all(any(word in group for group in _MODE_GROUPS) for word in words) and all(
        sum(word in group for word in words) <= 1 for group in _MODE_GROUPS
    )
