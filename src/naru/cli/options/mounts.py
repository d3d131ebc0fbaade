"""-v and --mount: binds, volumes and mounts as the API takes them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_FLAGS = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")


def volume(text: str) -> tuple[str, str]:
    """-v: (bind, anonymous volume), one of them empty."""
    if not text:
        raise ValueError("invalid empty volume spec")
    parts = text.split(":")
    if "" in parts:
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) == 1:
        return "", text
    source = parts[0]
    if source[0] == ".":
        parts[0] = os.path.abspath(source)
    return ":".join(parts), ""


def csv_fields(text: str) -> list[str]:
    """Fields of one CSV line, `"..."` quoting commas."""
    if '"' not in text:
        return text.split(",")
    fields = [""]
    quoted = False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            fields.append("")
        else:
            fields[-1] += char
    return fields


def _bool(key: str, value: str) -> bool:
    if value not in _TRUE and value not in _FALSE:
        raise ValueError(f"invalid value for {key}: {value}")
    return value in _TRUE


def mount(text: str) -> dict[str, Any]:
    """--mount: an API Mount; ValueError with Docker's text."""
    if not text:
        raise ValueError("value is empty")
    made: dict[str, Any] = {"Type": "volume"}
    bind: dict[str, Any] = {}
    volume_: dict[str, Any] = {}
    tmpfs: dict[str, Any] = {}
    image: dict[str, Any] = {}
    driver: dict[str, Any] = {}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            if key not in _FLAGS:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        _assign(made, bind, volume_, tmpfs, image, driver, key, value, field)
    if driver:
        volume_["DriverConfig"] = driver
    kind = made["Type"]
    for name, values in (("bind", bind), ("volume", volume_), ("tmpfs", tmpfs), ("image", image)):
        if values and kind != name:
            raise ValueError(f"cannot mix '{name}-*' options with mount type '{kind}'")
        if values:
            made[f"{name.capitalize()}Options"] = values
    if not made.get("Target"):
        raise ValueError("target is required")
    order = ("Type", "Source", "Target", "ReadOnly", "Consistency", "BindOptions", "VolumeOptions",
             "ImageOptions", "TmpfsOptions")  # fmt: skip
    return {name: made[name] for name in order if name in made}


def _assign(
    made: dict[str, Any],
    bind: dict[str, Any],
    volume_: dict[str, Any],
    tmpfs: dict[str, Any],
    image: dict[str, Any],
    driver: dict[str, Any],
    key: str,
    value: str,
    field: str,
) -> None:
    match key:
        case "type":
            made["Type"] = value.lower()
        case "source" | "src":
            made["Source"] = value
            if value == "." or value.startswith(("./", "../")):
                made["Source"] = os.path.abspath(value)
        case "target" | "dst" | "destination":
            made["Target"] = value
        case "readonly" | "ro":
            if _bool(key, value):
                made["ReadOnly"] = True
        case "consistency":
            made["Consistency"] = value.lower()
        case "bind-propagation":
            bind["Propagation"] = value.lower()
        case "bind-nonrecursive":
            if _bool(key, value):
                bind["NonRecursive"] = True
        case "bind-recursive":
            if value == "disabled":
                bind["NonRecursive"] = True
            elif value == "writable":
                bind["ReadOnlyNonRecursive"] = True
            elif value == "readonly":
                bind["ReadOnlyForceRecursive"] = True
            elif value != "enabled":
                raise ValueError(
                    f'invalid value for {key}: {value} (must be "enabled", "disabled", '
                    '"writable", or "readonly")'
                )
        case "volume-subpath":
            volume_["Subpath"] = value
        case "volume-nocopy":
            volume_["NoCopy"] = _bool(key, value)
        case "volume-label" | "volume-opt":
            name, _, text = value.partition("=")
            target = volume_ if key == "volume-label" else driver
            target.setdefault("Labels" if key == "volume-label" else "Options", {})[name] = text
        case "volume-driver":
            driver["Name"] = value
        case "image-subpath":
            image["Subpath"] = value
        case "tmpfs-size":
            from naru.cli.units import parse_bytes

            try:
                tmpfs["SizeBytes"] = parse_bytes(value)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case "tmpfs-mode":
            try:
                tmpfs["Mode"] = int(value, 8)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case _:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
