"""Default route and published ports follow the networks of a running container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from naru.engine.networking.creation import NetworkCreate
from naru.engine.networking.settings import NetworkSettings
from naru.spec.containers import ContainerConfig
from naru.spec.errors import InternalError
from naru.spec.networks import IPAM, EndpointSettings, IPAMPool
from tests.system.network.engine import Host, fetch, on_a_host_of_its_own
from tests.system.network.test_bridge import both, published

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def create(host: Host, name: str, subnet: str, **more: object) -> None:
    pools = IPAM(config=[IPAMPool(subnet=subnet)])
    await host.networks.create(NetworkCreate(name=name, ipam=pools, **more))  # type: ignore[arg-type]


@both
def test_ports_follow_when_the_gateway_network_is_left(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await create(host, "front", "10.81.0.0/24")
        await create(host, "rear", "10.82.0.0/24")
        config = ContainerConfig(exposed_ports={"81/tcp": {}})
        web = await host.run(
            await host.container(
                "web", network_mode="front", config=config, publish_all_ports=True,
                port_bindings=published("8080"),
            )
        )  # fmt: skip
        before = host.networks.settings(web)["Ports"]
        await host.networks.connect("rear", "web", EndpointSettings())
        assert "default via 10.81.0.1" in await host.inside(web, "ip", "route")
        await host.networks.disconnect("front", "web", force=False)
        assert "default via 10.82.0.1" in await host.inside(web, "ip", "route")
        assert host.networks.settings(web)["Ports"] == before
        await host.serve(web, 80, "by the other way")
        assert await fetch("127.0.0.1", 8080) == "by the other way"
        # It is all there for a daemon that comes after.
        record = host.containers.find("web")
        await host.stop()
        await host.start()
        await host.networks.recover([record])
        assert host.networks.settings(record)["Ports"] == before
        await host.serve(record, 80, "adopted")
        assert await fetch("127.0.0.1", 8080) == "adopted"
        # Out of the last: the ports are free for others.
        await host.networks.disconnect("rear", "web", force=False)
        assert host.networks.settings(record)["Ports"] == {"80/tcp": None, "81/tcp": None}
        other = await host.run(await host.container("other", port_bindings=published("8080")))
        for each in (record, other):
            await host.networks.detach(each.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


@both
def test_the_highest_priority_has_the_route_and_the_ports(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await create(host, "front", "10.81.0.0/24")
        await create(host, "rear", "10.82.0.0/24")
        web = await host.run(
            await host.container("web", network_mode="front", port_bindings=published("8080"))
        )
        await host.networks.connect("rear", "web", EndpointSettings(gw_priority=10))
        routes = await host.inside(web, "ip", "route")
        assert "default via 10.82.0.1" in routes
        assert "default via 10.81.0.1" not in routes
        await host.serve(web, 80, "by rear")
        assert await fetch("127.0.0.1", 8080) == "by rear"
        await host.networks.disconnect("rear", "web", force=False)
        assert "default via 10.81.0.1" in await host.inside(web, "ip", "route")
        await host.serve(web, 80, "by front")
        assert await fetch("127.0.0.1", 8080) == "by front"
        await host.networks.detach(web.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


def test_without_a_network_that_leads_outside_ports_wait_for_one(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await create(host, "inner", "10.83.0.0/24", internal=True)
        web = await host.run(
            await host.container("web", network_mode="inner", port_bindings=published("8080"))
        )
        assert host.networks.settings(web)["Ports"] == {"80/tcp": None}
        await host.networks.connect("bridge", "web", EndpointSettings())
        assert host.networks.settings(web)["Ports"]["80/tcp"][0]["HostPort"] == "8080"
        await host.serve(web, 80, "reached")
        assert await fetch("127.0.0.1", 8080) == "reached"
        await host.networks.disconnect("bridge", "web", force=False)
        other = await host.run(await host.container("other", port_bindings=published("8080")))
        # Taken by another meanwhile: the connect is refused, and nothing is left of it.
        with pytest.raises(InternalError, match=r"endpoint web .* port is already allocated"):
            await host.networks.connect("bridge", "web", EndpointSettings())
        assert list(host.networks.settings(web)["Networks"]) == ["inner"]
        assert "eth1" not in await host.inside(web, "ip", "link")
        for each in (web, other):
            await host.networks.detach(each.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_a_fixed_range_holds_the_containers_of_the_default_bridge(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        settings = NetworkSettings(
            bridge="naru-test0", bip="10.84.0.1/16", fixed_cidr="10.84.7.0/30"
        )
        await host.start(settings)
        records = [await host.run(await host.container(name)) for name in ("a", "b", "c")]
        addresses = [record.endpoints["bridge"].ip_address for record in records]
        assert all(address.startswith("10.84.7.") for address in addresses)
        assert len(set(addresses)) == 3
        assert "default via 10.84.0.1" in await host.inside(records[0], "ip", "route")
        for record in records:
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)
