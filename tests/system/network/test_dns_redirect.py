"""The embedded name server where the kernel has no nf_tables for it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from naru.engine.networking.creation import NetworkCreate
from naru.network import iptables, namespaces, nftables
from naru.spec.errors import Unavailable
from tests.system.network.engine import Host, on_a_host_of_its_own

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def binds_port_53(host: Host, container_id: str) -> bool:
    """Can a name server of the container's own have all addresses?"""

    def bind() -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as own:
                own.bind(("0.0.0.0", 53))

    namespace = namespaces.open_existing(host.root / "exec" / "netns" / container_id)
    try:
        namespaces.inside(namespace.fd, bind)
    except OSError:
        return False
    finally:
        namespace.close()
    return True


@pytest.mark.parametrize("way", ["whatever", "iptables", "port 53"])
def test_names_resolve(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_nft(*_: Any, **__: Any) -> None:
        raise OSError(95, "Operation not supported")

    def no_iptables(**_: Any) -> None:
        raise Unavailable("no program")

    if way != "whatever":
        monkeypatch.setattr(nftables, "redirect_dns", no_nft)
    if way == "port 53":
        monkeypatch.setattr(iptables, "redirect_dns", no_iptables)

    async def work(host: Host) -> None:
        await host.start()
        await host.networks.create(NetworkCreate(name="front"))
        web = await host.run(await host.container("web", network_mode="front"))
        client = await host.run(await host.container("client", network_mode="front"))

        async def resolves() -> None:
            argv = ["busybox", "nslookup", "-type=a", "web", "127.0.0.11"]
            found = await host.inside(client, *argv)
            assert web.endpoints["front"].ip_address in found, found

        await resolves()
        assert binds_port_53(host, client.id) == (way != "port 53")
        await host.stop()
        await host.start()
        await host.networks.recover([web, client])
        await resolves()
        for record in (web, client):
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)
