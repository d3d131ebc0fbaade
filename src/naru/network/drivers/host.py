"""The host driver: the container stays in the host's network namespace."""

from __future__ import annotations

from typing import ClassVar

from naru.network.driver import Endpoint
from naru.network.namespaces import Namespace
from naru.spec.errors import Unsupported
from naru.spec.networks import NetworkRecord


class HostDriver:
    name: ClassVar[str] = "host"

    def validate(self, network: NetworkRecord) -> None:
        for option in network.options:
            raise Unsupported(f"network option {option} is not supported by the host driver")

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
