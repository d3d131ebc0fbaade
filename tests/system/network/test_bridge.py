"""Containers on the default bridge, driven through the service with a real kernel below."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
from pathlib import Path

import pytest

from naru.engine.networking.creation import NetworkCreate
from naru.engine.networking.settings import NetworkSettings
from naru.spec.containers import ContainerConfig, PortBinding
from naru.spec.errors import (
    Conflict,
    Forbidden,
    InternalError,
    InvalidParameter,
    NotFound,
    Unsupported,
)
from naru.spec.networks import IPAM, EndpointIPAMConfig, EndpointSettings, IPAMPool
from tests.system.network.engine import Host, command, fetch, on_a_host_of_its_own

both = pytest.mark.parametrize("backend", ["nftables", "iptables"])

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def published(
    port: str, *, ip: str = "", container: str = "80/tcp"
) -> dict[str, list[PortBinding]]:
    return {container: [PortBinding(host_ip=ip, host_port=port)]}


def test_a_container_gets_address_route_and_mac(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        web = await host.run(await host.container("web"))
        endpoint = web.endpoints["bridge"]
        assert endpoint.ip_address == "172.17.0.2"
        assert endpoint.gateway == "172.17.0.1"
        assert endpoint.mac_address == "02:42:ac:11:00:02"
        shown = await host.inside(web, "ip", "-j", "address", "show", "eth0")
        assert "172.17.0.2" in shown
        assert "02:42:ac:11:00:02" in shown
        assert "default via 172.17.0.1" in await host.inside(web, "ip", "route")
        settings = host.networks.settings(web)
        own = settings["Networks"]["bridge"]
        assert (own["IPAddress"], own["EndpointID"]) == ("172.17.0.2", endpoint.endpoint_id)
        inspected = host.networks.inspect("bridge")
        assert inspected["Containers"][web.id]["IPv4Address"] == "172.17.0.2/16"
        # The network, its broadcast, the gateway and the container.
        [used] = inspected["Status"]["IPAM"]["Subnets"].values()
        assert used == {"IPsInUse": 4, "DynamicIPsAvailable": 65532}
        await host.networks.detach(web.id)
        await host.networks.detach(web.id)
        assert host.networks.settings(web)["Networks"]["bridge"]["IPAddress"] == ""
        assert list((tmp_path / "exec" / "netns").iterdir()) == []
        await host.stop()
        actions = [event.action for event in host.records.events()]
        assert actions == ["connect", "disconnect"]

    on_a_host_of_its_own(tmp_path, work)


@both
def test_published_ports_are_reached_from_everywhere(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        web = await host.run(await host.container("web", port_bindings=published("8080")))
        other = await host.run(await host.container("other"))
        await host.serve(web, 80, "from loopback")
        assert await fetch("127.0.0.1", 8080) == "from loopback"
        await host.serve(web, 80, "from the gateway")
        assert await fetch("172.17.0.1", 8080) == "from the gateway"
        for client in (other, web):
            await host.serve(web, 80, "from a container")
            output = await host.inside(client, "busybox", "nc", "-w", "30", "172.17.0.1", "8080")
            assert output.strip() == "from a container"
        assert host.networks.settings(web)["Ports"] == {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
        }
        await host.networks.detach(web.id)
        assert "refused" in await fetch("127.0.0.1", 8080)
        await host.networks.detach(other.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


def test_a_port_in_use_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        first = await host.run(await host.container("first", port_bindings=published("8080")))
        second = await host.container("second", port_bindings=published("8080"))
        with pytest.raises(InternalError) as caught:
            await host.networks.attach(second)
        text = str(caught.value)
        assert text.startswith(
            "failed to set up container networking: driver failed programming external "
            "connectivity on endpoint second ("
        )
        assert text.endswith("Bind for 0.0.0.0:8080 failed: port is already allocated")
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 9090)
        third = await host.container("third", port_bindings=published("9090"))
        with pytest.raises(InternalError, match=r"0\.0\.0\.0:9090/tcp: address already in use"):
            await host.networks.attach(third)
        server.close()
        await server.wait_closed()
        await host.networks.detach(first.id)
        again = await host.run(second)
        assert again.endpoints["bridge"].ip_address
        await host.networks.detach(again.id)
        assert list((tmp_path / "exec" / "netns").iterdir()) == []
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_ephemeral_ports_and_ranges(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        config = ContainerConfig(exposed_ports={"53/udp": {}, "80/tcp": {}, "81/tcp": {}})
        many = await host.run(
            await host.container(
                "many",
                config=config,
                publish_all_ports=True,
                port_bindings=published("7000-7001", container="81/tcp"),
            )
        )
        more = await host.run(
            await host.container("more", port_bindings=published("7000-7001", container="81/tcp"))
        )
        ports = host.networks.settings(many)["Ports"]
        assert ports["81/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "7000"}]
        assert int(ports["53/udp"][0]["HostPort"]) >= 1024
        assert int(ports["80/tcp"][0]["HostPort"]) >= 1024
        assert host.networks.settings(more)["Ports"]["81/tcp"][0]["HostPort"] == "7001"
        third = await host.container("third", port_bindings=published("7000-7001"))
        with pytest.raises(InternalError, match="all ports are allocated"):
            await host.networks.attach(third)
        for record in (many, more):
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


@both
def test_a_restarted_daemon_adopts_and_cleans(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        stays = await host.run(await host.container("stays", port_bindings=published("8080")))
        goes = await host.run(await host.container("goes", port_bindings=published("8081")))
        await host.stop()
        await host.serve(stays, 80, "while the daemon is down")
        assert await fetch("127.0.0.1", 8080) == "while the daemon is down"

        await host.start()
        await host.networks.recover([stays])
        await host.serve(stays, 80, "adopted")
        assert await fetch("127.0.0.1", 8080) == "adopted"
        assert host.networks.settings(stays)["Ports"]["80/tcp"][0]["HostPort"] == "8080"
        assert host.networks.settings(goes)["Ports"] == {}
        rules = await command("nft", "list", "ruleset")
        if backend == "iptables":
            rules = await command("iptables", "-w", "-t", "nat", "-S")
        assert "8080" in rules
        assert "8081" not in rules
        new = await host.run(await host.container("new"))
        assert new.endpoints["bridge"].ip_address != stays.endpoints["bridge"].ip_address
        clash = await host.container("clash", port_bindings=published("8080"))
        with pytest.raises(InternalError, match="port is already allocated"):
            await host.networks.attach(clash)
        for record in (stays, new):
            await host.networks.detach(record.id)
        assert list((tmp_path / "exec" / "netns").iterdir()) == []
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


@both
def test_user_networks_resolve_names_and_are_apart(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await host.networks.create(NetworkCreate(name="front"))
        await host.networks.create(NetworkCreate(name="back"))
        web = await host.run(
            await host.container(
                "web",
                network_mode="front",
                endpoints={"front": EndpointSettings(aliases=["www"])},
            )
        )
        client = await host.run(await host.container("client", network_mode="front"))
        alien = await host.run(await host.container("alien", network_mode="back"))
        address = web.endpoints["front"].ip_address
        assert address.startswith("172.18.")
        assert web.endpoints["front"].dns_names == ["web", "www", web.id[:12]]
        for name in ("web", "www", "web.front", web.id[:12]):
            output = await host.inside(client, "busybox", "nslookup", "-type=a", name, "127.0.0.11")
            assert address in output, output
        reverse = await host.inside(client, "busybox", "nslookup", address, "127.0.0.11")
        assert "web.front" in reverse
        unknown = await host.inside(alien, "busybox", "nslookup", "-type=a", "web", "127.0.0.11")
        assert address not in unknown
        await host.serve(web, 80, "neighbour")
        reached = await host.inside(client, "busybox", "nc", "-w", "30", address, "80")
        assert reached.strip() == "neighbour"
        await host.serve(web, 80, "never")
        denied = await host.inside(alien, "busybox", "nc", "-w", "1", address, "80")
        assert "never" not in denied
        assert "nameserver 127.0.0.11" in host.networks.files(web).resolv_conf
        with pytest.raises(Forbidden, match="has active endpoints"):
            await host.networks.remove("front")
        directory = tmp_path / "containers" / web.id
        directory.mkdir(parents=True)
        (directory / "hosts").write_text(host.networks.files(web).hosts + "10.0.0.1\tmine\n")
        (directory / "resolv.conf").write_text(host.networks.files(web).resolv_conf)
        await host.networks.connect("back", "web", EndpointSettings())
        joined = host.containers.find("web")
        assert joined.endpoints["back"].ip_address.startswith("172.19.")
        output = await host.inside(alien, "busybox", "nslookup", "-type=a", "web", "127.0.0.11")
        assert joined.endpoints["back"].ip_address in output
        with pytest.raises(Forbidden, match="already exists in network back"):
            await host.networks.connect("back", "web", EndpointSettings())
        hosts = (directory / "hosts").read_text()
        assert "10.0.0.1\tmine" in hosts
        assert joined.endpoints["back"].ip_address in hosts
        await host.networks.disconnect("back", "web", force=False)
        hosts = (directory / "hosts").read_text()
        assert "10.0.0.1\tmine" in hosts
        assert joined.endpoints["back"].ip_address not in hosts
        # Out of the last network and in again: the resolver ends and begins anew.
        await host.networks.disconnect("front", "web", force=False)
        await host.networks.connect("front", "web", EndpointSettings())
        output = await host.inside(web, "busybox", "nslookup", "-type=a", "client", "127.0.0.11")
        assert client.endpoints["front"].ip_address in output
        with pytest.raises(InternalError, match="is not connected to"):
            await host.networks.disconnect("back", "web", force=False)
        for record in (web, client, alien):
            await host.networks.detach(record.id)
        await host.networks.remove("front")
        assert await host.networks.prune({}) == ["back"]
        links = await command("ip", "-j", "link")
        assert [each["ifname"] for each in json.loads(links) if "br-" in each["ifname"]] == []
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


def test_refusals(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        networks = host.networks
        await networks.create(
            NetworkCreate(name="mine", ipam=IPAM(config=[IPAMPool(subnet="10.9.0.0/24")]))
        )
        with pytest.raises(Conflict, match="network with name mine already exists"):
            await networks.create(NetworkCreate(name="mine"))
        with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
            await networks.create(
                NetworkCreate(name="yours", ipam=IPAM(config=[IPAMPool(subnet="10.9.0.0/16")]))
            )
        with pytest.raises(Forbidden, match="operation is not permitted on predefined"):
            await networks.create(NetworkCreate(name="bridge"))
        with pytest.raises(
            Forbidden, match="bridge is a pre-defined network and cannot be removed"
        ):
            await networks.remove("bridge")
        with pytest.raises(NotFound, match="network nope not found"):
            networks.inspect("nope")
        lost = await host.container("lost", network_mode="nope")
        with pytest.raises(NotFound, match="networking: network nope not found"):
            await networks.attach(lost)
        static = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="10.9.0.7"))
        fixed = await host.run(
            await host.container("fixed", network_mode="mine", endpoints={"mine": static})
        )
        assert fixed.endpoints["mine"].ip_address == "10.9.0.7"
        twin = await host.container("twin", network_mode="mine", endpoints={"mine": static})
        with pytest.raises(Forbidden, match="Address already in use"):
            await networks.attach(twin)
        wrong = await host.container("wrong", endpoints={"bridge": static})
        with pytest.raises(InvalidParameter, match="supported on user defined networks only"):
            await networks.attach(wrong)
        await networks.detach(fixed.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_none_and_host(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        lonely = await host.container("lonely", network_mode="none")
        attachment = await host.networks.attach(lonely)
        assert attachment.netns is not None
        assert list(attachment.endpoints) == ["none"]
        assert "eth0" not in await host.inside(lonely, "ip", "link")
        assert "127.0.0.1" in await host.inside(lonely, "ip", "address")
        public = await host.container("public", network_mode="host")
        attachment = await host.networks.attach(public)
        assert attachment.netns is None
        assert list(attachment.endpoints) == ["host"]
        for record in (lonely, public):
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_without_icc_containers_do_not_reach_one_another(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start(NetworkSettings(bridge="naru-test0", icc=False, bip="10.77.0.1/24"))
        web = await host.run(await host.container("web"))
        other = await host.run(await host.container("other"))
        address = web.endpoints["bridge"].ip_address
        assert address == "10.77.0.2"
        await host.serve(web, 80, "served")
        assert "served" not in await host.inside(other, "busybox", "nc", "-w", "1", address, "80")
        assert await fetch(address, 80) == "served"
        for record in (web, other):
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


@both
def test_a_network_with_ipv6(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await host.networks.create(
            NetworkCreate(
                name="six",
                enable_ipv6=True,
                ipam=IPAM(config=[IPAMPool(subnet="fd00:77::/64")]),
            )
        )
        web = await host.run(
            await host.container("web", network_mode="six", port_bindings=published("8080"))
        )
        other = await host.run(await host.container("other", network_mode="six"))
        endpoint = web.endpoints["six"]
        assert endpoint.global_ipv6_address == "fd00:77::2"
        assert endpoint.ipv6_gateway == "fd00:77::1"
        assert host.networks.settings(web)["Ports"]["80/tcp"] == [
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
            {"HostIp": "::", "HostPort": "8080"},
        ]
        await host.serve(web, 80, "by six")
        assert await fetch("fd00:77::1", 8080) == "by six"
        await host.serve(web, 80, "direct")
        reached = await host.inside(other, "busybox", "nc", "-w", "30", "fd00:77::2", "80")
        assert reached.strip() == "direct"
        for record in (web, other):
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


@both
def test_an_internal_network_leads_nowhere(tmp_path: Path, backend: str) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await host.networks.create(NetworkCreate(name="inner", internal=True))
        web = await host.run(
            await host.container("web", network_mode="inner", port_bindings=published("8080"))
        )
        assert web.endpoints["inner"].gateway == ""
        assert "default" not in await host.inside(web, "ip", "route")
        assert host.networks.settings(web)["Ports"] == {"80/tcp": None}
        await host.networks.connect("bridge", "web", EndpointSettings())
        assert "default via 172.17.0.1" in await host.inside(web, "ip", "route")
        await host.networks.disconnect("bridge", "web", force=False)
        assert "default" not in await host.inside(web, "ip", "route")
        await host.networks.detach(web.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work, backend=backend)


def test_a_udp_client_reaches_the_next_container_at_once(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        bindings = published("5353", container="53/udp")
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(60)
        client.connect(("127.0.0.1", 5353))  # the same source port throughout
        for name in ("first", "second"):
            record = await host.run(await host.container(name, port_bindings=bindings))
            namespace = await host.plane.namespace(record.id)
            server = namespace.datagram  # a socket inside the container
            server.bind(("0.0.0.0", 53))
            server.settimeout(60)
            client.send(name.encode())
            data, sender = await asyncio.to_thread(server.recvfrom, 100)
            assert data == name.encode()
            server.sendto(b"answer", sender)
            assert await asyncio.to_thread(client.recv, 100) == b"answer"
            await host.networks.detach(record.id)
        client.close()
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_a_daemon_killed_in_the_middle_of_an_attach_leaves_nothing(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        record = await host.container("half", port_bindings=published("8080"))
        await host.networks.attach(record)  # and the start is never recorded
        other = await host.container("lost")
        await host.networks.attach(other)
        (tmp_path / "exec" / "netns" / f"{other.id}.json").unlink()
        await host.stop()
        await host.start()
        await host.networks.recover([])
        assert list((tmp_path / "exec" / "netns").iterdir()) == []
        assert "8080" not in await command("nft", "list", "ruleset")
        again = await host.run(record)
        assert host.networks.settings(again)["Ports"]["80/tcp"][0]["HostPort"] == "8080"
        await host.networks.detach(again.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_many_at_once(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        records = [await host.container(f"c{n}", port_bindings=published("")) for n in range(20)]
        running = await asyncio.gather(*(host.run(record) for record in records))
        addresses = {record.endpoints["bridge"].ip_address for record in running}
        assert len(addresses) == 20
        ports = {
            host.networks.settings(record)["Ports"]["80/tcp"][0]["HostPort"] for record in running
        }
        assert len(ports) == 20
        await asyncio.gather(*(host.networks.detach(record.id) for record in running))
        assert list((tmp_path / "exec" / "netns").iterdir()) == []
        async with asyncio.timeout(60):  # the kernel takes namespaces down in its own time
            while "veth" in await command("ip", "-br", "link"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_without_a_firewall_nothing_is_published_and_loopback_stays_closed(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start(iptables=False)
        web = await host.container("web", port_bindings=published("8080"))
        with pytest.raises(Unsupported, match="--iptables=false"):
            await host.networks.attach(web)
        plain = await host.run(await host.container("plain"))
        assert await command("nft", "list", "ruleset") == ""
        flag = await command("cat", "/proc/sys/net/ipv4/conf/naru-test0/route_localnet")
        assert flag == "0\n"
        await host.networks.detach(plain.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


def test_without_a_default_bridge_there_is_loopback_alone(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start(NetworkSettings(bridge=""))
        record = await host.run(await host.container("lonely"))
        assert record.endpoints == {}
        assert "eth0" not in await host.inside(record, "ip", "link")
        assert [each["Name"] for each in host.networks.search({})] == ["host", "none"]
        await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)


async def descriptors(host: Host) -> int:
    """How many this process has, once what was put away is closed and the pool is full again."""
    gc.collect()  # what former tests have dropped
    await host.plane.host_networks()  # by the same worker, in its turn
    async with asyncio.timeout(60):
        while host.plane._work._pool._ready.qsize() < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return len(os.listdir("/proc/self/fd"))


def test_a_running_container_costs_the_daemon_no_descriptor_but_its_ports(tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.start()
        await host.networks.create(NetworkCreate(name="front"))
        warm = await host.run(await host.container("warm"))
        before = await descriptors(host)
        plain = await host.run(await host.container("plain", port_bindings=published("8080")))
        named = await host.run(await host.container("named", network_mode="front"))
        # One for the port, two for the resolver.
        assert await descriptors(host) == before + 3
        for record in (warm, plain, named):
            await host.networks.detach(record.id)
        await host.stop()

    on_a_host_of_its_own(tmp_path, work)
