"""What single flag values must look like; each raises ValueError with Docker's text."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_ULIMITS = frozenset(
    (
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    )
)


def attach_stream(text: str) -> None:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")


def environment(text: str) -> None:
    if text.startswith("=") or not text:
        raise ValueError(f"invalid environment variable: {text}")


def label(text: str) -> None:
    if not text.partition("=")[0]:
        raise ValueError(f"invalid label '{text}': empty name")


def link(text: str) -> None:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")


def ip_address(text: str) -> None:
    from naru.cli.options.ports import _valid_ip

    if not _valid_ip(text):
        raise ValueError(f"IP address is not correctly formatted: {text}")


def extra_host(text: str) -> str:
    """`name:ip` or `name=ip` -> `name:ip`."""
    name, separator, address = text.partition("=")
    if not separator or ":" in name:
        name, separator, address = text.partition(":")
    if not separator or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway":
        from naru.cli.options.ports import _valid_ip

        if not _valid_ip(address):
            raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def sysctl(text: str) -> None:
    name, equals, _ = text.partition("=")
    if not equals or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")


def ulimit(text: str) -> dict[str, Any]:
    """`nofile=1024:2048` -> {Name, Hard, Soft}."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft, colon, hard = limits.partition(":")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError:
        bad = soft if not soft.lstrip("-").isdigit() else hard
        raise ValueError(f'strconv.ParseInt: parsing "{bad}": invalid syntax') from None
    if high != -1 and (low > high or low == -1):
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}"
        )
    return {"Name": name, "Hard": high, "Soft": low}


def weight_device(text: str) -> dict[str, Any]:
    path, colon, weight = text.partition(":")
    if not path or not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    if not weight.isdigit() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(weight)}


def rate_bps(text: str) -> dict[str, Any]:
    path, rate = _device_rate(text)
    from naru.cli.units import parse_bytes

    try:
        value = parse_bytes(rate)
        if value < 0:
            raise ValueError(rate)
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is "
            "<device-path>:<number>[<unit>]. Number must be a positive integer. "
            "Unit is optional and can be kb, mb, or gb"
        ) from None
    return {"Path": path, "Rate": value}


def rate_iops(text: str) -> dict[str, Any]:
    path, rate = _device_rate(text)
    if not rate.isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(rate)}


def _device_rate(text: str) -> tuple[str, str]:
    path, colon, rate = text.partition(":")
    if not path or not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, rate


def cgroup_rule(text: str) -> None:
    parts = text.split(" ")
    if (
        len(parts) != 3
        or parts[0] not in ("a", "b", "c")
        or not all(part in ("*",) or part.isdigit() for part in parts[1].split(":"))
        or parts[1].count(":") != 1
        or not parts[2]
        or set(parts[2]) - set("rwm")
    ):
        raise ValueError(f"invalid device cgroup format '{text}'")


def device(text: str) -> dict[str, str]:
    """`host[:container[:mode]]` or `host:mode`."""
    parts = text.split(":")
    if len(parts) > 3 or not text:
        raise ValueError(f"bad format for path: {text}")
    host, inside, mode = parts[0], "", "rwm"
    if len(parts) == 3:
        inside, mode = parts[1], parts[2]
        if not _mode(mode):
            raise ValueError(f"bad mode specified: {mode}")
    elif len(parts) == 2:
        if _mode(parts[1]):
            mode = parts[1]
        else:
            inside = parts[1]
    inside = inside or host
    if not os.path.isabs(inside):
        raise ValueError(f"{inside} is not an absolute path")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": mode}


def _mode(text: str) -> bool:
    return bool(text) and not set(text) - set("rwm") and len(set(text)) == len(text)


def is_cdi(text: str) -> bool:
    kind, equals, name = text.partition("=")
    vendor, slash, family = kind.partition("/")
    return bool(equals and name and slash and vendor and family and not text.startswith("/"))


def key_values(items: Iterable[str]) -> dict[str, str]:
    """`["a=b", "c"]` -> `{"a": "b", "c": ""}`."""
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def read_lines(paths: Iterable[str], *, what: str, inherit: bool) -> list[str]:
    """Lines of --env-file and --label-file; a bare name takes the client's own variable."""
    lines: list[str] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                content = file.read().removeprefix(b"\xef\xbb\xbf")
        except FileNotFoundError:
            raise ValueError(f"open {path}: no such file or directory") from None
        except OSError as error:
            raise ValueError(f"open {path}: {(error.strerror or '').lower()}") from None
        try:
            texts = content.decode().split("\n")
        except UnicodeDecodeError:
            raise ValueError(f"env file {path} contains invalid utf8 bytes") from None
        for text in texts:
            text = text.removesuffix("\r").lstrip()
            if not text or text.startswith("#"):
                continue
            name, equals, _ = text.partition("=")
            if not name:
                raise ValueError(f"no variable name on line '{text}'")
            if " " in name.rstrip() or name != name.rstrip():
                raise ValueError(f"{what} '{name}' contains whitespaces")
            if equals:
                lines.append(text)
            elif inherit:
                if name in os.environ:
                    lines.append(f"{name}={os.environ[name]}")
            else:
                lines.append(name)
    return lines


def environments(items: Iterable[str]) -> list[str]:
    """-e values, a bare name taking the client's own value where there is one."""
    return [
        item if "=" in item or item not in os.environ else f"{item}={os.environ[item]}"
        for item in items
    ]


def gpu_request(text: str) -> dict[str, Any]:
    """--gpus: a DeviceRequest."""
    from naru.cli.options.mounts import csv_fields

    request: dict[str, Any] = {
        "Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {},
    }  # fmt: skip
    seen = False
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", key
        if key == "count":
            seen = True
            if value != "all" and not value.isdigit():
                raise ValueError(
                    f'invalid count ({value}): value must be either "all" or an integer'
                )
            request["Count"] = -1 if value == "all" else int(value)
        elif key == "device":
            seen = True
            request["DeviceIDs"] = value.split(",")
        elif key == "driver":
            request["Driver"] = value
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = key_values(value.split(","))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not seen:
        request["Count"] = 1
    return request


def _mount(text: str) -> object:
    from naru.cli.options.mounts import mount

    return mount(text)


def _network(text: str) -> object:
    from naru.cli.options.networks import attachment

    return attachment(text)


CHECKS: Mapping[str, Callable[[str], object]] = {
    "attach": attach_stream,
    "env": environment,
    "label": label,
    "link": link,
    "dns": ip_address,
    "add-host": extra_host,
    "sysctl": sysctl,
    "ulimit": ulimit,
    "blkio-weight-device": weight_device,
    "device-read-bps": rate_bps,
    "device-write-bps": rate_bps,
    "device-read-iops": rate_iops,
    "device-write-iops": rate_iops,
    "device-cgroup-rule": cgroup_rule,
    "gpus": gpu_request,
    "mount": _mount,
    "network": _network,
}
