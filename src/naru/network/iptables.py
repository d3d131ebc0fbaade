"""The firewall by iptables, for kernels without nf_tables: chains of our own, hooked in once.

    NARU-<tag>-DNAT      from PREROUTING and OUTPUT, for local addresses: published ports
    NARU-<tag>-SNAT      from POSTROUTING: masquerading
    NARU-<tag>-FORWARD   from FORWARD: isolation, and which ports may be reached
    NARU-<tag>-RAW       from raw PREROUTING: no container reaches the host's loopback

Each change is one `iptables-restore --noflush`, which the kernel applies as a whole. Slower than
nftables (milliseconds for each change and a rule for each port), but the same in effect.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import ClassVar

from naru.network.firewall import BridgeRules, PortMap
from naru.spec.errors import InternalError, Unavailable

_PROGRAMS = {4: ("iptables", "iptables-legacy"), 6: ("ip6tables", "ip6tables-legacy")}
_HOOKS = (
    # table, the host's chain, our chain, the match
    ("nat", "PREROUTING", "DNAT", "-m addrtype --dst-type LOCAL"),
    ("nat", "OUTPUT", "DNAT", "-m addrtype --dst-type LOCAL"),
    ("nat", "POSTROUTING", "SNAT", ""),
    ("filter", "FORWARD", "FORWARD", ""),
    ("raw", "PREROUTING", "RAW", ""),
)


class Iptables:
    """`Firewall`; keeps what it set up in memory, and writes the chains anew on each change."""

    guards_loopback: ClassVar[bool] = True

    def __init__(self, *, name: str) -> None:
        self._tag = name.removeprefix("naru-").upper()
        self._bridges: dict[str, BridgeRules] = {}
        self._ports: dict[PortMap, None] = {}
        found = {version: program(version) for version in _PROGRAMS}
        self._programs = {version: program for version, program in found.items() if program}

    @staticmethod
    def available() -> bool:
        return bool(program(4))

    def start(self, bridges: Sequence[BridgeRules]) -> None:
        """Published ports of an earlier life stay in force until `retain`."""
        self._bridges = {bridge.bridge: bridge for bridge in bridges}
        for version in self._programs:
            for table, hook, chain, match in _HOOKS:
                self._hook(version, table, hook, chain, match)
        self._write(("filter", "raw"))
        for version in self._programs:
            self._restore(version, "nat", self._masquerades(version), chains=("SNAT",))

    def add_bridge(self, bridge: BridgeRules) -> None:
        self._bridges[bridge.bridge] = bridge
        self._write(("filter", "raw", "nat"))

    def remove_bridge(self, bridge: BridgeRules) -> None:
        if self._bridges.pop(bridge.bridge, None) is not None:
            self._write(("filter", "raw", "nat"))

    def publish(self, ports: Sequence[PortMap]) -> None:
        fresh = [port for port in ports if port not in self._ports]
        if not fresh:
            return
        self._ports.update(dict.fromkeys(fresh))
        try:
            self._write(("nat",))
        except InternalError:
            for port in fresh:
                del self._ports[port]
            raise

    def withdraw(self, ports: Iterable[PortMap]) -> None:
        gone = [port for port in ports if self._ports.pop(port, ...) is None]
        if gone:
            self._write(("nat",))

    def retain(self, ports: Iterable[PortMap]) -> None:
        self._ports = dict.fromkeys(ports)
        self._write(("nat",))

    def obstacles(self) -> Sequence[str]:
        policy = _run([self._programs[4], "-w", "-S", "FORWARD"]).partition("\n")[0]
        return ["filter FORWARD"] if policy == "-P FORWARD DROP" else []

    def close(self) -> None:
        pass

    def remove(self) -> None:
        for version in self._programs:
            for table, hook, chain, match in _HOOKS:
                base = [self._programs[version], "-w", "-t", table]
                with suppress(InternalError):
                    _run([*base, "-D", hook, *match.split(), "-j", self._chain(chain)])
            for table, _, chain, _ in _HOOKS:
                base = [self._programs[version], "-w", "-t", table]
                with suppress(InternalError):
                    _run([*base, "-F", self._chain(chain)])
                    _run([*base, "-X", self._chain(chain)])

    def _chain(self, name: str) -> str:
        return f"NARU-{self._tag}-{name}"

    def _hook(self, version: int, table: str, hook: str, chain: str, match: str) -> None:
        base = [self._programs[version], "-w", "-t", table]
        rule = [*match.split(), "-j", self._chain(chain)]
        with suppress(InternalError):  # it exists
            _run([*base, "-N", self._chain(chain)])
        try:
            _run([*base, "-C", hook, *rule])
        except InternalError:
            # First: what the host drops at the end of its own FORWARD must not drop before.
            _run([*base, "-I", hook, *rule])

    def _write(self, tables: Sequence[str]) -> None:
        for version in self._programs:
            for table in tables:
                self._restore(version, table, self._rules(version, table))

    def _restore(
        self, version: int, table: str, rules: Sequence[str], chains: Sequence[str] | None = None
    ) -> None:
        own = chains or list(dict.fromkeys(chain for t, _, chain, _ in _HOOKS if t == table))
        # A declared chain is flushed, in the same transaction as its new rules are added.
        lines = [f"*{table}", *(f":{self._chain(chain)} - [0:0]" for chain in own)]
        text = "\n".join([*lines, *rules, "COMMIT", ""])
        _run([self._programs[version] + "-restore", "-w", "--noflush"], text)

    def _rules(self, version: int, table: str) -> list[str]:
        match table:
            case "nat":
                return [*self._translations(version), *self._masquerades(version)]
            case "filter":
                return self._forwards()
            case _:
                return self._guards(version)

    def _translations(self, version: int) -> list[str]:
        chain = self._chain("DNAT")
        found = []
        # Those of one host address before those of all.
        for port in sorted(self._ports, key=lambda p: ip_address(p.host_ip).is_unspecified):
            host = ip_address(port.host_ip)
            if host.version != version:
                continue
            where = "" if host.is_unspecified else f" -d {host}"
            target = port.container_ip if version == 4 else f"[{port.container_ip}]"
            loop = " ! -d ::1" if version == 6 and host.is_unspecified else ""
            found.append(
                f"-A {chain} -p {port.protocol}{where}{loop} --dport {port.host_port} "
                f"-j DNAT --to-destination {target}:{port.container_port}"
            )
        return found

    def _masquerades(self, version: int) -> list[str]:
        chain = self._chain("SNAT")
        found = []
        for bridge in self._bridges.values():
            if version == 4:
                found.append(f"-A {chain} -s 127.0.0.0/8 -o {bridge.bridge} -j MASQUERADE")
            for subnet in bridge.subnets:
                if subnet.version != version:
                    continue
                found += [
                    f"-A {chain} -s {subnet} -o {other} -m conntrack --ctstate DNAT -j MASQUERADE"
                    for other in self._bridges
                ]
                found += [f"-A {chain} -s {subnet} -o {other} -j RETURN" for other in self._bridges]
                if bridge.masquerade and not bridge.internal:
                    found.append(f"-A {chain} -s {subnet} -j MASQUERADE")
        return found

    def _forwards(self) -> list[str]:
        chain = self._chain("FORWARD")
        names = list(self._bridges)
        internal = [bridge.bridge for bridge in self._bridges.values() if bridge.internal]
        return [
            f"-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            *(f"-A {chain} -i {name} -o {name} -j ACCEPT" for name in names),
            *(f"-A {chain} -i {name} -j DROP" for name in internal),
            *(f"-A {chain} -o {name} -j DROP" for name in internal),
            *(f"-A {chain} -o {name} -m conntrack --ctstate DNAT -j ACCEPT" for name in names),
            *(f"-A {chain} -o {name} -j DROP" for name in names),
            # The host's policy may be DROP; what containers send out is for the host to route.
            *(f"-A {chain} -i {name} -j ACCEPT" for name in names),
        ]

    def _guards(self, version: int) -> list[str]:
        if version == 6:
            return []
        chain = self._chain("RAW")
        return [f"-A {chain} -i {name} -d 127.0.0.0/8 -j DROP" for name in self._bridges]


def program(version: int, tables: Sequence[str] = ("nat", "raw", "filter")) -> str:
    """The program that works here: "iptables" may be the one for nf_tables, which is missing."""
    for name in _PROGRAMS[version]:
        if shutil.which(name) is None:
            continue
        try:
            for table in tables:
                _run([name, "-w", "-t", table, "-S"])
        except InternalError:
            continue
        return name
    return ""


def redirect_dns(*, udp: int, tcp: int) -> None:
    """In a container's namespace, which the calling thread is in: as nftables.redirect_dns."""
    name = program(4, ("nat",))
    if not name:
        raise Unavailable("there is no iptables program that works")
    chain, server = "NARU-DNS", "127.0.0.11"
    lines = ["*nat", f":{chain} - [0:0]"]
    for protocol, port in (("udp", udp), ("tcp", tcp)):
        where = f"-p {protocol} --dport 53"
        lines.append(f"-A {chain} {where} -j DNAT --to-destination {server}:{port}")
    hook = ["OUTPUT", "-d", f"{server}/32", "-j", chain]
    try:
        _run([name, "-w", "-t", "nat", "-C", *hook])
    except InternalError:  # the first resolver of this namespace; later ones find it
        lines.append("-I " + " ".join(hook))
    _run([f"{name}-restore", "-w", "--noflush"], "\n".join([*lines, "COMMIT", ""]))


def _run(argv: Sequence[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InternalError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise InternalError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
