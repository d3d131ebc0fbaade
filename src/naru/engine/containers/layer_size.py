"""`--storage-opt`: what a container says of its own layer."""

from __future__ import annotations

from naru.spec.containers import HostConfig
from naru.spec.errors import InvalidParameter
from naru.store.sizes import parse_size


def storage_size(host: HostConfig) -> int | None:
    """The limit of `--storage-opt size=10G` in bytes; None where there is none."""
    for key in host.storage_opt:
        if key != "size":
            raise InvalidParameter(f"Unknown option {key}")
    text = host.storage_opt.get("size", "")
    return parse_size(text) if text else None
