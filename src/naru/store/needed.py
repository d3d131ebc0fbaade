"""Which read-only layers are needed: what is not may be removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from naru.spec.layers import INIT
from naru.store.records import Records


def needed_layers(
    records: Records, *, making: Iterable[str] = (), held: Iterable[str] = ()
) -> set[str]:
    """Names (chain ids, also behind `INIT`) of all that images and containers lie on.

    With those of layers that are `making`, and of what is `held`, as if an image lay on it.
    """
    used = {"", *held}
    used.update(image.chain_id for image in records.images.values())
    used.update(container.chain_id for container in records.containers.values())
    pending = [*used, *(INIT + chain for chain in used), *making]
    needed: set[str] = set()
    while pending:
        name: str | None = pending.pop()
        while name and name not in needed:
            needed.add(name)
            record = records.layers.get(name)
            name = record.parent if record else None
    return needed
