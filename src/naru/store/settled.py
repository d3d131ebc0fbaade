"""In which storage driver the layers of the records are: what a start must not contradict."""

from __future__ import annotations

from naru.spec.errors import Unsupported
from naru.spec.storage import MIGRATION
from naru.store.records import Records


def settled(records: Records, asked: str) -> str:
    """The driver to start with; "" leaves it to the automatic choice.

    `asked` is what flag, environment or daemon.json name. `Unsupported` when images and containers
    are in another driver's storage: they would all be there, and none of them could be used.
    """
    pending = records.migrations.get(MIGRATION)
    if pending is not None:
        here = pending.target if pending.switched else pending.source
    else:
        drivers = {layer.driver for layer in records.layers.values()}
        here = drivers.pop() if len(drivers) == 1 else ""
    if asked and here and asked != here:
        raise Unsupported(
            f"the storage driver {asked} is asked for, but the images and containers are in that of"
            f" {here}: take the option storage-driver away (or set it to {here}), or start with"
            f" {here} and carry them over with 'naru storage migrate --to {asked}'"
        )
    if pending is not None:
        return here
    return asked
