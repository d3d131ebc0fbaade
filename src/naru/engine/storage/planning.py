"""What a migration between storage drivers has to do, and what speaks against it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from naru.engine.images.progress import human_size
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, InvalidParameter
from naru.spec.layers import LayerRecord
from naru.spec.storage import MigrationRecord

_SPARE = 64 << 20
"""Bytes that must be left, whatever the floor: a full disk hurts everybody."""


def order(layers: Iterable[LayerRecord]) -> list[LayerRecord]:
    """Parents before their children, otherwise as they came."""
    by_name = {layer.chain_id: layer for layer in layers}
    done: dict[str, LayerRecord] = {}
    for layer in by_name.values():
        path = []
        at: LayerRecord | None = layer
        while at is not None and at.chain_id not in done:
            path.append(at)
            at = by_name.get(at.parent) if at.parent else None
        done.update((each.chain_id, each) for each in reversed(path))
    return list(done.values())


def room_needed(
    layers: Iterable[LayerRecord],
    own: Mapping[str, int],
    containers: Iterable[ContainerRecord],
    *,
    copies: bool,
) -> int:
    """Bytes that the target will take. `own` is what each container's layer holds itself.

    `copies`: the driver keeps every layer with all below it, as vfs does.
    """
    layers = order(layers)
    total: dict[str, int] = {}
    for layer in layers:
        below = total.get(layer.parent, 0) if layer.parent else 0
        total[layer.chain_id] = layer.size + (below if copies else 0)
    needed = sum(total.values())
    for container in containers:
        needed += own.get(container.id, 0)
        if copies:
            needed += total.get(container.chain_id, 0)
    return needed


def check_room(needed: int, free: int, kept: int = 0) -> None:
    """`kept` bytes are to stay free, see `store/room`."""
    if needed + max(_SPARE, kept) > free:
        staying = f", {human_size(kept)} of which are to stay so (min-free-space)" if kept else ""
        raise Conflict(
            f"not enough disk space: the layers need about {human_size(needed)} in the other"
            f" driver, and {human_size(free)} are free{staying} (both copies are kept until the"
            " switch)"
        )


def check_pending(pending: MigrationRecord | None, here: str, target: str) -> None:
    """Whether a migration from the driver `here` to `target` may begin, or go on."""
    if pending is None:
        if here == target:
            raise InvalidParameter(f"the storage driver in use is {target} already")
    elif pending.target != target:
        what = (
            f"the migration to {pending.target} is done, but what was in {pending.source} is not"
            " all removed: repeat that command"
            if pending.switched
            else f"a migration to {pending.target} was begun: repeat that command to complete it,"
            " or give it up with 'naru storage migrate --abandon'"
        )
        raise Conflict(what)


def must_stop(containers: Iterable[ContainerRecord]) -> list[ContainerRecord]:
    """Those whose layer cannot be carried while they are what they are."""
    active = (Status.RUNNING, Status.PAUSED, Status.RESTARTING)
    return [each for each in containers if each.state.status in active]


def check_running(active: Sequence[ContainerRecord], *, stop: bool) -> None:
    if active and not stop:
        raise Conflict(
            f"containers are running: {_names(active)}: stop them first, or let --stop stop them"
            " and start them again"
        )
    if doomed := [each for each in active if each.host_config.auto_remove]:
        raise Conflict(
            f"containers are running with --rm: {_names(doomed)}: stopping would remove them; stop"
            " them yourself, or wait for their end"
        )


def halted(pending: MigrationRecord, active: Iterable[ContainerRecord]) -> MigrationRecord:
    """With those that are about to be stopped, beside those that an earlier attempt has."""
    active = list(active)
    paused = [each.id for each in active if each.state.status is Status.PAUSED]
    return msgspec.structs.replace(
        pending,
        stopped=list(dict.fromkeys([*pending.stopped, *(each.id for each in active)])),
        paused=list(dict.fromkeys([*pending.paused, *paused])),
    )


def brought_back(pending: MigrationRecord, container_id: str) -> MigrationRecord:
    return msgspec.structs.replace(
        pending,
        stopped=[each for each in pending.stopped if each != container_id],
        paused=[each for each in pending.paused if each != container_id],
    )


def advice(target: str, *, named: str, options: Sequence[str], given: Sequence[str]) -> list[str]:
    """What the user must change before the next start.

    `named` and `options` are what the daemon's configuration says of the driver, `given` what this
    migration was given.
    """
    found = []
    if named and named != target:
        found.append(
            f"the daemon's configuration names the storage driver {named}: set it to {target}, or"
            " take it away, before the next start, which refuses to begin otherwise"
        )
    foreign = [each for each in options if each not in given]
    if foreign:
        found.append(
            f"the daemon's storage-opts are meant for the former driver: {', '.join(foreign)}:"
            " take them away before the next start"
        )
    missing = [each for each in given if each not in options]
    if missing:
        found.append(
            f"add to the daemon's storage-opts what holds for {target}: {', '.join(missing)}"
        )
    return found


def _names(containers: Iterable[ContainerRecord]) -> str:
    return ", ".join(each.name for each in containers)
