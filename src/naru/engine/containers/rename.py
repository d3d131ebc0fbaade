"""`POST /containers/{id}/rename`."""

from __future__ import annotations

import msgspec

from naru.engine.containers import names
from naru.engine.containers.collaborators import Networks
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.spec.errors import Conflict, InvalidParameter, no_such_container


class Rename:
    def __init__(self, *, containers: Containers, networks: Networks) -> None:
        self._containers = containers
        self._networks = networks

    async def __call__(self, ref: str, new_name: str) -> None:
        if not new_name:
            raise InvalidParameter("Neither old nor new names may be empty")
        record = self._containers.find(ref)
        name = names.check(new_name)
        live = self._containers.live(record)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None or live.removing:
                raise no_such_container(ref)
            if name == present.name:
                raise InvalidParameter(
                    "Renaming a container with the same name as its current name"
                )
            try:
                with self._containers.reserved_name(name, record.id):
                    renamed = msgspec.structs.replace(present, name=name)
                    old = {"oldName": f"/{present.name}"}
                    await self._containers.save(renamed, occurrence(renamed, "rename", **old))
                await self._networks.renamed(renamed)
            except Conflict as error:
                raise Conflict(f"Error when allocating new name: {error}") from None
