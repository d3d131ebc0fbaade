"""The concrete parts that a data plane is made of: the firewall this host can have, the drivers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from naru.network import nftables
from naru.network.driver import NetworkDriver
from naru.network.drivers.bridge import BridgeDriver
from naru.network.drivers.linkless import HostDriver, NullDriver
from naru.network.firewall import Firewall, NoFirewall
from naru.network.iptables import Iptables
from naru.network.nftables import Nftables
from naru.network.plane import Plane
from naru.network.rtnetlink import RouteSocket
from naru.spec.errors import Unavailable

_log = logging.getLogger(__name__)


def data_plane(
    *, exec_root: Path, iptables: bool = True, ip_forward: bool = True, backend: str = ""
) -> Plane:
    """`iptables`: Docker's name for "may add firewall rules", whichever backend adds them.

    `backend`: nftables or iptables; "" takes the one that this host can have.
    """

    def drivers(routes: RouteSocket, firewall: Firewall) -> Sequence[NetworkDriver]:
        bridge = BridgeDriver(routes=routes, firewall=firewall, ip_forward=ip_forward)
        return [bridge, HostDriver(), NullDriver()]

    return Plane(
        exec_root=exec_root,
        firewall=_firewall(nftables.table_name(exec_root), backend) if iptables else NoFirewall,
        drivers=drivers,
    )


def _firewall(name: str, backend: str) -> Callable[[], Firewall]:
    def choose() -> Firewall:
        """nftables where the kernel has it, else iptables where its program is."""
        if backend == "iptables":
            return Iptables(name=name)
        try:
            firewall = Nftables(table=name)
        except OSError as error:
            reason = error
        else:
            try:
                firewall.probe()
                return firewall
            except OSError as error:
                firewall.close()
                reason = error
        if backend == "nftables":
            raise Unavailable(f"no firewall: the kernel has no nf_tables ({reason})")
        _log.info("no nf_tables in this kernel (%s): iptables is used", reason)
        if not Iptables.available():
            raise Unavailable(
                f"no firewall: the kernel has no nf_tables ({reason}) and there is no iptables "
                "program; start with --iptables=false to do without"
            )
        return Iptables(name=name)

    return choose
