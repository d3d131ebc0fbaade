"""What single flag values must look like; each raises ValueError with Docker's text."""

from __future__ import annotations

from naru.cli.options import devices, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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


def link(text: str) -> None:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")


def ip_address(text: str) -> None:
    from naru.cli.options.ports import valid_ip

    if not valid_ip(text):
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
        from naru.cli.options.ports import valid_ip

        if not valid_ip(address):
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


def _mount(text: str) -> object:
    from naru.cli.options.mounts import mount

    return mount(text)


def _network(text: str) -> object:
    from naru.cli.options.networks import attachment

    return attachment(text)


CHECKS: Mapping[str, Callable[[str], object]] = {
    "attach": attach_stream,
    "env": variables.environment,
    "label": variables.label,
    "link": link,
    "dns": ip_address,
    "add-host": extra_host,
    "sysctl": sysctl,
    "ulimit": ulimit,
    "blkio-weight-device": devices.weight_device,
    "device-read-bps": devices.rate_bps,
    "device-write-bps": devices.rate_bps,
    "device-read-iops": devices.rate_iops,
    "device-write-iops": devices.rate_iops,
    "device-cgroup-rule": devices.cgroup_rule,
    "gpus": devices.gpu_request,
    "mount": _mount,
    "network": _network,
}
