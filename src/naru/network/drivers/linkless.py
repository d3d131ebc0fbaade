"""The drivers of networks without a link: "host" and "none". They have nothing to make.

With host the container stays in the host's network namespace; with null, the driver of network
"none", it has a namespace of its own with loopback alone.
"""

from __future__ import annotations

from typing import ClassVar

from naru.network.driver import Endpoint
from naru.network.namespaces import Namespace
from naru.spec.errors import Unsupported
from naru.spec.networks import NetworkRecord


class _Linkless:
    name: ClassVar[str]

    def validate(self, network: NetworkRecord) -> None:
        for option in network.options:
            raise Unsupported(f"network option {option} is not supported by the {self.name} driver")

    def create(self, network: NetworkRecord) -> None:
        pass

    def remove(self, network: NetworkRecord) -> None:
        pass

    def join(
        self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace, *, route: bool
    ) -> None:
        pass

    def leave(self, network: NetworkRecord, endpoint: Endpoint, *, namespace_ends: bool) -> None:
        pass

    def promote(self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace) -> None:
        pass

    def demote(self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace) -> None:
        pass


class HostDriver(_Linkless):
    name: ClassVar[str] = "host"


class NullDriver(_Linkless):
    name: ClassVar[str] = "null"
