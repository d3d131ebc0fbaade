"""What a volume may be called, and what the local driver's options mean. Pure, Docker's texts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from naru.kernel.mounts import Mount
from naru.spec.errors import InvalidParameter

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ADDRESS = re.compile(r"(?:^|,)addr=([^,]+)")
_KNOWN = ("type", "o", "device", "size")
_REQUIRED = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_NETWORKED = ("nfs", "cifs")


def check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric"
            " characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only'
            ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory,'
            " use absolute path"
        )


def check_options(name: str, options: Mapping[str, str]) -> None:
    for option in options:
        if option not in _KNOWN:
            raise InvalidParameter(f'create {name}: invalid option: "{option}"')
    for option, needed in _REQUIRED.items():
        for other in needed:
            if option in options and other not in options:
                raise InvalidParameter(f'create {name}: missing required option: "{other}"')


def needs_mount(options: Mapping[str, str]) -> bool:
    return bool(options.get("device") or options.get("type"))


def option_mount(options: Mapping[str, str], target: Path, resolve: Callable[[str], str]) -> Mount:
    """The mount that `type`, `device` and `o` describe; `resolve` gives a host name's address.

    The kernel's nfs and cifs take addresses only: what mount.nfs does for a shell, we do.
    """
    kind, device, words = options.get("type", ""), options.get("device", ""), options.get("o", "")
    if kind in _NETWORKED:
        found = _ADDRESS.search(words)
        if found and not _is_address(found[1]):
            words = words.replace(f"addr={found[1]}", f"addr={resolve(found[1])}", 1)
        elif kind == "cifs" and not found:
            host = re.match(r"//([^/]+)/", device)
            if host and not _is_address(host[1]):
                device = device.replace(host[1], resolve(host[1]), 1)
    parts = [word for word in words.split(",") if word]
    if kind == "bind":  # no file system is called so: docs and users write it all the same
        kind, parts = "", ["bind", *parts] if not {"bind", "rbind"} & set(parts) else parts
    if {"bind", "rbind"} & set(parts):
        kind = ""
    return Mount(kind, device, target, parts)


def without_secrets(text: str, options: Mapping[str, str]) -> str:
    """An error's text without the password that `o` may carry."""
    for word in options.get("o", "").split(","):
        name, equals, value = word.partition("=")
        if name in ("password", "pass") and equals and value:
            text = text.replace(value, "********")
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
