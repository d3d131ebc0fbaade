"""The null driver of network "none": a namespace of its own, with loopback alone."""

from __future__ import annotations

from typing import ClassVar

from naru.network.driver import Endpoint
from naru.network.namespaces import Namespace
from naru.spec.errors import Unsupported
from naru.spec.networks import NetworkRecord


class NullDriver:
    name: ClassVar[str] = "null"

    def validate(self, network: NetworkRecord) -> None:
        for option in network.options:
            raise Unsupported(f"network option {option} is not supported by the null driver")

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
