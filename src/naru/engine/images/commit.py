"""`docker commit`: a container's changes become a layer over its image."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from naru.engine.images import configs, events
from naru.engine.images.changes import apply_changes
from naru.engine.images.layer_intake import Arrived, KeptLayer, LayerIntake
from naru.engine.images.library import Library
from naru.engine.images.platforms import platform_of
from naru.spec import oci
from naru.spec.containers import ContainerConfig, ContainerRecord
from naru.spec.errors import Conflict
from naru.spec.events import Event
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference

EMPTY_LAYER = "sha256:" + hashlib.sha256(bytes(1024)).hexdigest()
"""The digest of a tar without members: a commit without changes adds no layer."""


class Containers(Protocol):
    def find(self, ref: str) -> ContainerRecord: ...


class Pauses(Protocol):
    async def pause(self, ref: str) -> None: ...

    async def unpause(self, ref: str) -> None: ...


class Committer:
    def __init__(
        self, *, library: Library, containers: Containers, pauses: Pauses, version: str
    ) -> None:
        """`version` is what images name as `docker_version`."""
        self._library = library
        self._containers = containers
        self._pauses = pauses
        self._version = version

    async def commit(
        self,
        ref: str,
        *,
        name: Reference | None = None,
        config: ContainerConfig | None = None,
        changes: Sequence[str] = (),
        author: str = "",
        comment: str = "",
        pause: bool = True,
    ) -> ImageRecord:
        """`config` None is the container's own; `pause` holds a running container still."""
        container = self._containers.find(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(
                f"You cannot commit container {container.id} which is"
                f" {'Dead' if container.state.status == 'dead' else 'being removed'}"
            )
        wanted = apply_changes(config or container.config, changes)
        if config is not None:
            wanted = merged(wanted, container.config)
        library = self._library
        async with library.taking_in() as lease, library.used_or_swept() as held:
            if container.chain_id:
                library.layers.acquire(container.chain_id)
                held.callback(library.layers.release, container.chain_id)
            intake = await held.enter_async_context(LayerIntake(library, lease))
            async with self._still(container, pause):
                layer = await self._diff(container, intake)
            diff_ids = await self._unpack(container, layer, intake, held)
            return await self._add(
                container, wanted, layer, diff_ids, name=name, author=author, comment=comment
            )

    @contextlib.asynccontextmanager
    async def _still(self, container: ContainerRecord, pause: bool) -> AsyncIterator[None]:
        """Paused from here to the end of the diff, where it runs and was not paused before."""
        if not pause or container.state.status != "running":
            yield
            return
        await self._pauses.pause(container.id)
        try:
            yield
        finally:
            await self._pauses.unpause(container.id)

    async def _diff(self, container: ContainerRecord, intake: LayerIntake) -> Arrived:
        """The container's changes as a layer: written by one process, taken in by another."""
        taking = asyncio.ensure_future(self._library.layers.diff_to(container.id, intake.take))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait([taking])  # a thread of it would go on
            raise

    async def _unpack(
        self,
        container: ContainerRecord,
        layer: Arrived,
        intake: LayerIntake,
        held: contextlib.AsyncExitStack,
    ) -> list[str]:
        """-> the diff ids of the image to be; no changes add no layer."""
        diff_ids = self._base(container)[0]
        if layer.diff_id == EMPTY_LAYER:
            return diff_ids
        await intake.unpack(held, container.chain_id or None, layer.diff_id, layer)
        return [*diff_ids, layer.diff_id]

    async def _add(
        self,
        container: ContainerRecord,
        wanted: ContainerConfig,
        layer: Arrived,
        diff_ids: list[str],
        *,
        name: Reference | None,
        author: str,
        comment: str,
    ) -> ImageRecord:
        library = self._library
        created = time.time_ns()
        _, history, platform = self._base(container)
        empty = layer.diff_id == EMPTY_LAYER
        command = container.config.cmd
        history = [*history, configs.history_entry(
            created=created,
            created_by=" ".join(command) if isinstance(command, list) else command or "",
            author=author, comment=comment, empty=empty,
        )]  # fmt: skip
        document = configs.image_config(
            platform=platform,
            config=wanted,
            created=created,
            diff_ids=diff_ids,
            history=history,
            author=author,
            comment=comment,
            container=container.id,
            container_image=container.config,
            version=self._version,
        )
        image_id = oci.digest_of(document)
        names = [name.tagged()] if name else []
        attributes = {
            **container.config.labels,
            "comment": comment,
            "image": container.config.image,
            "imageID": image_id,
            "imageRef": names[0].familiar if names else "",
            "name": container.name,
        }
        return await library.add(
            document,
            names=names,
            blobs=[layer.record(library.blobs)] if isinstance(layer, KeptLayer) else [],
            parent=container.image_id,
            said=[
                *(events.of_id("tag", image_id, wanted.labels, each.familiar) for each in names),
                Event(type="container", action="commit", actor_id=container.id,
                      attributes=attributes),
            ],
        )  # fmt: skip

    def _base(self, container: ContainerRecord) -> tuple[list[str], list[dict[str, Any]], Platform]:
        """What the container's image is made of; its record may be gone, its layers are not."""
        library = self._library
        if (image := library.records.images.get(container.image_id)) is not None:
            document = msgspec.json.decode(library.blobs.read(image.id))
            history = list(document.get("history") or [])
            return list(image.diff_ids), history, platform_of(image)
        diff_ids: list[str] = []
        chain: str | None = container.chain_id or None
        while chain is not None and (layer := library.layers.get(chain)) is not None:
            diff_ids.insert(0, layer.diff_id)
            chain = layer.parent
        return diff_ids, [], oci.host_platform()


def merged(wanted: ContainerConfig, base: ContainerConfig) -> ContainerConfig:
    """`wanted`, with the container's values where it says nothing. Pure."""
    have = {item.partition("=")[0] for item in wanted.env}
    env = [*wanted.env, *(item for item in base.env if item.partition("=")[0] not in have)]
    fields: dict[str, Any] = {
        "env": env,
        "labels": {**base.labels, **wanted.labels},
        "exposed_ports": {**base.exposed_ports, **wanted.exposed_ports},
        "volumes": {**base.volumes, **wanted.volumes},
    }
    if wanted.entrypoint is None and wanted.cmd is None:
        fields["cmd"] = base.cmd
    if wanted.entrypoint is None:
        fields["entrypoint"] = base.entrypoint
    for name in ("user", "working_dir", "healthcheck", "stop_signal", "shell", "on_build"):
        if not getattr(wanted, name):
            fields[name] = getattr(base, name)
    return msgspec.structs.replace(wanted, **fields)
