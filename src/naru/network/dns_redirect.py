"""127.0.0.11:53 of a container leads to its resolver at other ports, by whatever the kernel has.

So the container may run a name server on port 53 itself, on all addresses: with the resolver at
that very port it could not. nf_tables does it where the kernel has them for IPv4, the iptables
program (started inside the namespace, tens of milliseconds) on older ones.
"""

from __future__ import annotations

import logging

from naru.network import iptables, namespaces, nftables
from naru.network.namespaces import Namespace
from naru.spec.errors import NaruError

_log = logging.getLogger(__name__)


def redirect(namespace: Namespace, *, udp: int, tcp: int) -> bool:
    """Blocking. False where neither is to be had: the resolver must take port 53 itself then."""
    if namespace.firewall is not None:
        try:
            nftables.redirect_dns(namespace.firewall, udp=udp, tcp=tcp)
            return True
        except OSError as error:
            _log.debug("no redirection by nf_tables: %s", error)
    try:
        namespaces.inside(namespace.fd, lambda: iptables.redirect_dns(udp=udp, tcp=tcp))
        return True
    except (OSError, NaruError) as error:
        _log.debug("no redirection by iptables: %s", error)
    return False
