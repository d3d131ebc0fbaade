"""--network and the flags that describe its endpoint."""

from __future__ import annotations

from naru.cli.options.mounts import csv_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values

_LISTED = {"alias": "Aliases", "driver-opt": "", "link-local-ip": "LinkLocalIPs"}
_SINGLE = ("name", "ip", "ip6", "mac-address", "gw-priority")


def attachment(text: str) -> dict[str, Any]:
    """`name` or `name=x,alias=y,ip=z,...`: what was asked for, by option name."""
    if "=" not in text and "," not in text:
        return {"name": text}
    asked: dict[str, Any] = {}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        value = value.strip()
        if not equals:
            raise ValueError(f"invalid field {field}")
        if key in _LISTED:
            asked.setdefault(key, []).append(value)
        elif key in _SINGLE:
            asked[key] = value
        else:
            raise ValueError(f"invalid field key {key}")
    if "gw-priority" in asked and not asked["gw-priority"].lstrip("-").isdigit():
        raise ValueError(f'invalid gw-priority (strconv.Atoi: parsing "{asked["gw-priority"]}")')
    if not asked.get("name"):
        raise ValueError("network name/id is not specified")
    return asked


def check_mac(text: str) -> str:
    octets = text.replace("-", ":").split(":")
    if len(octets) != 6 or not all(len(octet) == 2 and _hex(octet) for octet in octets):
        raise ValueError(f"{text} is not a valid mac address")
    return text


def _hex(text: str) -> bool:
    return not set(text.lower()) - set("0123456789abcdef")


def endpoint(asked: dict[str, Any], links: list[str]) -> dict[str, Any]:
    """The API's EndpointSettings."""
    ipam = {
        name: asked[key]
        for name, key in (
            ("IPv4Address", "ip"),
            ("IPv6Address", "ip6"),
            ("LinkLocalIPs", "link-local-ip"),
        )
        if asked.get(key)
    }
    options = {
        name: value
        for name, _, value in (item.partition("=") for item in asked.get("driver-opt", []))
    }
    return {
        "IPAMConfig": ipam or None,
        "Links": links or None,
        "Aliases": asked.get("alias") or None,
        "MacAddress": check_mac(asked["mac-address"]) if asked.get("mac-address") else "",
        "DriverOpts": options or None,
        "GwPriority": int(asked.get("gw-priority") or 0),
        "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
        "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": None,
    }  # fmt: skip


def endpoints(values: Values) -> tuple[str, dict[str, Any]]:
    """(NetworkMode, EndpointsConfig) of --network and its companions."""
    wanted = [attachment(text) for text in values["network"]] or [{"name": "default"}]
    first = wanted[0]
    mode = str(first["name"])
    user_defined = mode not in ("default", "bridge", "host", "none") and not mode.startswith(
        "container:"
    )
    if values["network-alias"] and not user_defined:
        raise ValueError("network-scoped aliases are only supported for user-defined networks")
    for flag, key in (
        ("network-alias", "alias"),
        ("ip", "ip"),
        ("ip6", "ip6"),
        ("link-local-ip", "link-local-ip"),
        ("mac-address", "mac-address"),
    ):
        if values[flag]:
            if first.get(key) and key not in ("alias", "mac-address"):
                raise ValueError(
                    f"conflicting options: cannot specify both --{flag} and per-network {key}"
                )
            first[key] = values[flag]
    links = values["link"] if user_defined else []
    made: dict[str, Any] = {}
    for number, asked in enumerate(wanted):
        if asked["name"] in made:
            raise ValueError(f'network "{asked["name"]}" is specified multiple times')
        plain = len(asked) == 1 and not (number == 0 and links)
        if plain and len(wanted) == 1 and mode != "default":
            continue  # nothing but the name: NetworkMode says it
        made[asked["name"]] = endpoint(asked, links if number == 0 else [])
    return mode, made
