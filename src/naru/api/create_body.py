"""What versions make of one and the same body of `POST /containers/create`. Pure."""

from __future__ import annotations

import msgspec

from naru.api.messages import Version
from naru.spec.containers import ContainerConfig, HostConfig
from naru.spec.errors import InvalidParameter

_MAC_OF_ENDPOINTS_ALONE: Version = (1, 52)
_NO_KERNEL_MEMORY_TCP: Version = (1, 52)
_EMPTY_BINDINGS_TOLD_OF: Version = (1, 52)
_EMPTY_BINDINGS_DROPPED: Version = (1, 53)


def adapted(
    version: Version, config: ContainerConfig, host: HostConfig
) -> tuple[HostConfig, list[str]]:
    """The host configuration as `version` means it, and warnings."""
    if config.mac_address and version >= _MAC_OF_ENDPOINTS_ALONE:
        raise InvalidParameter(
            "container-wide MAC address no longer supported; use endpoint-specific MAC address"
            " instead"
        )
    if version >= _NO_KERNEL_MEMORY_TCP:
        host = msgspec.structs.replace(host, kernel_memory_tcp=0)
    empty = [port for port, bindings in host.port_bindings.items() if not bindings]
    if not empty or version < _EMPTY_BINDINGS_TOLD_OF:
        return host, []
    if version < _EMPTY_BINDINGS_DROPPED:
        return host, [
            f"Following container port(s) have an empty list of port-bindings: {', '.join(empty)}."
            " Starting with API 1.53, such bindings will be discarded."
        ]
    bound = {port: bindings for port, bindings in host.port_bindings.items() if bindings}
    return msgspec.structs.replace(host, port_bindings=bound), []
