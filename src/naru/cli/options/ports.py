"""-p/--publish and --expose: port specifications as ExposedPorts and PortBindings."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Bindings = dict[str, list[dict[str, str]]]

_PROTOCOLS = ("tcp", "udp", "sctp")


def _number(text: str, what: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ValueError(f"invalid {what}: {text}")
    return int(text)


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start = _number(first, what) if not dash or first.isdigit() else _number(text, what)
    end = start
    if dash:
        if not last.isdigit() or int(last) > 65535:
            raise ValueError(f"invalid {what}: {text}")
        end = int(last)
    if end < start:
        raise ValueError(f"invalid {what}: {text}")
    return start, end


def valid_ip(text: str) -> bool:
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def _long_form(text: str) -> str:
    """`published=8080,target=80,protocol=udp` as the short form."""
    fields = {"published": "", "target": "", "protocol": "tcp", "mode": ""}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        if not equals or not value:
            raise ValueError(f"invalid field: {item}")
        if name not in fields:
            raise ValueError(f"invalid field key {name}")
        fields[name] = value
    if not fields["target"].isdigit():
        raise ValueError(f"invalid target port ({fields['target']}): value must be an integer")
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}".lstrip(":")


def publish(specifications: Iterable[str]) -> tuple[dict[str, dict[str, str]], Bindings]:
    """(exposed ports, bindings) of `[[ip:]host[-range]:]container[-range][/proto]`."""
    exposed: dict[str, dict[str, str]] = {}
    bindings: Bindings = {}
    for given in specifications:
        text = _long_form(given) if "=" in given else given
        body, slash, protocol = text.partition("/")
        protocol = protocol.lower() if slash else "tcp"
        front, _, container = body.rpartition(":")
        host, _, address = front.rpartition(":")[::-1]
        address = address.removeprefix("[").removesuffix("]")
        if not container:
            raise ValueError(f"no port specified: {text}<empty>")
        if address and not valid_ip(address):
            raise ValueError(f"invalid IP address: {address}")
        first, last = _range(container, "containerPort")
        host_first = host_last = 0
        if host:
            host_first, host_last = _range(host, "hostPort")
            if host_last - host_first != last - first and last != first:
                raise ValueError(
                    f"invalid ranges specified for container and host Ports: {container} and {host}"
                )
        if protocol not in _PROTOCOLS:
            raise ValueError(f"invalid proto: {protocol}")
        for offset in range(last - first + 1):
            if not host:
                shown = ""
            elif first == last and host_first != host_last:
                shown = f"{host_first}-{host_last}"
            else:
                shown = str(host_first + offset)
            key = f"{first + offset}/{protocol}"
            exposed[key] = {}
            bindings.setdefault(key, []).append({"HostIp": address, "HostPort": shown})
    return exposed, bindings


def expose(specifications: Iterable[str]) -> dict[str, dict[str, str]]:
    """ExposedPorts of `port[-range][/proto]`."""
    exposed: dict[str, dict[str, str]] = {}
    for text in specifications:
        if ":" in text:
            raise ValueError(f"invalid port format for --expose: {text}")
        ports, slash, protocol = text.partition("/")
        first, dash, last = ports.partition("-")
        head = f"invalid range format for --expose: {ports}, error: "
        for part in (first, last) if dash else (first,):
            if not part.isdigit():
                raise ValueError(head + f'strconv.ParseUint: parsing "{part}": invalid syntax')
        if dash and int(last) < int(first):
            raise ValueError(head + f"invalid range specified for port: {ports}")
        for port in range(int(first), int(last if dash else first) + 1):
            exposed[f"{port}/{protocol.lower() if slash else 'tcp'}"] = {}
    return exposed
