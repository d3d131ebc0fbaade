"""Devices: --device and its limits, --gpus. What is wrong raises ValueError with Docker's text."""

from __future__ import annotations

import os

from naru.cli.options.variables import key_values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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


def weight_device(text: str) -> dict[str, Any]:
    path, weight = _of_device(text)
    if not weight.isdigit() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(weight)}


def rate_bps(text: str) -> dict[str, Any]:
    path, rate = _of_device(text)
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
    path, rate = _of_device(text)
    if not rate.isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(rate)}


def _of_device(text: str) -> tuple[str, str]:
    """`/dev/sda:1mb` -> ("/dev/sda", "1mb")."""
    path, colon, value = text.partition(":")
    if not path or not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


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
