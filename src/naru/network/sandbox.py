"""What is set up for a container's network, and the files that remember it beside the namespaces.

They are in the exec-root, which a reboot empties as it ends the namespaces.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from naru.network.driver import Endpoint
from naru.network.firewall import PortMap
from naru.spec.networks import NetworkRecord

_log = logging.getLogger(__name__)


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a container, and the network it is in. `route`: the default route."""

    network: NetworkRecord
    endpoint: Endpoint
    route: bool = False


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """What is set up for a container: the state file beside its namespace."""

    container_id: str
    joins: list[Join] = []

    @property
    def ports(self) -> list[PortMap]:
        return [port for join in self.joins for port in join.endpoint.ports]


class SandboxFiles:
    """`<container id>.json`, one for each sandbox; other names are the namespaces' own."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def known(self) -> list[str]:
        """The containers that have a file or a namespace here."""
        names = {path.name.removesuffix(".json") for path in self._root.iterdir()}
        return sorted(name for name in names if not name.startswith("."))

    def read(self, container_id: str) -> Sandbox | None:
        try:
            return msgspec.json.decode(self._path(container_id).read_bytes(), type=Sandbox)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            _log.warning("%s: %s", self._path(container_id), error)
            return None

    def write(self, sandbox: Sandbox) -> None:
        target = self._path(sandbox.container_id)
        fresh = target.with_name(f".{target.name}")
        fresh.write_bytes(msgspec.json.encode(sandbox))
        # No fsync: the exec-root and the kernel's state are lost together.
        os.replace(fresh, target)

    def forget(self, container_id: str) -> None:
        self._path(container_id).unlink(missing_ok=True)

    def clear_half_written(self) -> None:
        """What a daemon that was killed in a `write` left."""
        for path in self._root.glob(".*.json"):
            path.unlink(missing_ok=True)

    def _path(self, container_id: str) -> Path:
        return self._root / f"{container_id}.json"
