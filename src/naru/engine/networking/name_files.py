"""Which hosts, hostname and resolv.conf a container gets in its present networks."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from naru.engine.networking.catalog import Catalog, is_user_defined
from naru.engine.networking.settings import NetworkSettings
from naru.network import files
from naru.network.files import ResolvConf
from naru.spec.containers import ContainerRecord

_HOSTS = Path("/etc/hosts")
_RESOLV_CONF = Path("/etc/resolv.conf")
_BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")


class NameFiles(NamedTuple):
    hosts: str
    resolv_conf: str
    hostname: str


class FileWriter:
    """Reads the host's own files each time: they change while the daemon runs."""

    def __init__(self, *, settings: NetworkSettings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog

    def files(self, record: ContainerRecord) -> NameFiles:
        config = record.config
        name = config.hostname or record.id[:12]
        host = record.host_config.network_mode == "host"
        if host:
            name = config.hostname or socket.gethostname()
        return NameFiles(
            hosts=self._hosts(record, name, host=host),
            resolv_conf=self._resolv_conf(record, host=host),
            hostname=files.hostname(name),
        )

    def upstream(self, record: ContainerRecord) -> Sequence[str]:
        """The name servers behind the container's embedded one."""
        return files.upstream(self._overridden(record, host_settings()))

    def _hosts(self, record: ContainerRecord, name: str, *, host: bool) -> str:
        extra = files.extra_hosts(record.host_config.extra_hosts, self._gateways())
        if host:
            lines = "".join(f"{address}\t{names}\n" for address, names in extra)
            return _text(_HOSTS) + lines
        addresses = [
            address
            for settings in record.endpoints.values()
            for address in (settings.ip_address, settings.global_ipv6_address)
            if address
        ]
        return files.hosts(
            addresses=addresses, hostname=name, domain=record.config.domainname, extra=extra
        )

    def _resolv_conf(self, record: ContainerRecord, *, host: bool) -> str:
        wanted = record.host_config
        settings = self._overridden(record, host_settings())
        if host and not (wanted.dns or wanted.dns_search or wanted.dns_options):
            return _text(_RESOLV_CONF)
        if host:
            return files.resolv_conf(settings)
        networks = [
            found
            for name in record.endpoints
            if (found := self._catalog.named(name) or self._catalog.get(name)) is not None
        ]
        if any(is_user_defined(network.name) for network in networks):
            return files.resolv_conf(files.for_resolver(settings))
        given = bool(wanted.dns or self._settings.dns)
        ipv6 = any(network.enable_ipv6 for network in networks)
        return files.resolv_conf(files.for_bridge(settings, given=given, ipv6=ipv6))

    def _overridden(self, record: ContainerRecord, host: ResolvConf) -> ResolvConf:
        wanted = record.host_config
        return files.overridden(
            host,
            dns=wanted.dns or self._settings.dns,
            search=wanted.dns_search or self._settings.dns_search,
            options=wanted.dns_options or self._settings.dns_options,
        )

    def _gateways(self) -> list[str]:
        if self._settings.host_gateway_ip:
            return [self._settings.host_gateway_ip]
        bridge = self._catalog.named("bridge")
        return [pool.gateway for pool in bridge.ipam.config] if bridge is not None else []


def refresh(directory: Path, before: NameFiles, after: NameFiles) -> None:
    """Bring a running container's files up to date; what the user wrote into them stays.

    In place: the container sees the file itself, by a bind mount.
    """
    hosts, resolv_conf = directory / "hosts", directory / "resolv.conf"
    old, new = before.hosts.splitlines(), after.hosts.splitlines()
    present = _text(hosts).splitlines()
    kept = [line for line in present if line not in old or line in new]
    lines = kept + [line for line in new if line not in kept]
    if lines != present:
        hosts.write_text("\n".join(lines) + "\n")
    if before.resolv_conf != after.resolv_conf and _text(resolv_conf) == before.resolv_conf:
        resolv_conf.write_text(after.resolv_conf)


def host_settings() -> ResolvConf:
    """The host's resolv.conf; behind systemd's stub, the servers that the stub asks."""
    found = files.parse_resolv_conf(_text(_RESOLV_CONF))
    if found.servers == ("127.0.0.53",) and _BEHIND_STUB.exists():
        return files.parse_resolv_conf(_text(_BEHIND_STUB))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
