"""`docker rmi` and `docker image prune`: names go first, an image with its last name, what it alone
needed with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from naru.engine.images import events
from naru.engine.images import filters as image_filters
from naru.engine.images import platforms as sharing
from naru.engine.images.library import Library
from naru.spec import reference as references
from naru.spec.containers import ContainerRecord
from naru.spec.errors import Conflict
from naru.spec.events import Event
from naru.spec.images import ImageRecord, TagRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference
from naru.store.records import Change, delete, put

_ID = re.compile(r"(sha256:)?[0-9a-f]+")

Deleted = dict[str, str]
"""{"Untagged": name} or {"Deleted": id}."""


class _Plan:
    """Changes decided on, not yet committed."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.events: list[Event] = []
        self.told: list[Deleted] = []
        self.images: set[str] = set()
        self.names: set[str] = set()
        self.shared: set[str] = set()  # images of other platforms behind the names that go
        self.moved: dict[str, TagRecord] = {}


class Removal:
    def __init__(self, *, library: Library) -> None:
        self._library = library

    async def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        prune: bool = True,
        platforms: Sequence[Platform] = (),
    ) -> list[Deleted]:
        """`DELETE /images/{name}`. `prune`: untagged parents go too. `Conflict` while needed.

        `platforms`: only these of an image of several.
        """
        library = self._library
        async with library.sweeper.sweeping(), library.changing:
            image = library.find(ref)
            names = library.names_of(image.id)
            plan = _Plan()
            if platforms:
                for platform in platforms:
                    self._one_platform(plan, library.find(ref, platform), force=force)
            elif not names and image.id in sharing.secondary(library.records):
                self._one_platform(plan, image, force=force)
            elif _is_id(ref, image):
                self._by_id(plan, image, names, ref, force=force)
            else:
                self._by_name(plan, image, names, ref, force=force)
            if image.id in plan.images:
                self._delete_companions(plan)
                if prune:
                    self._parents(plan, image)
            await library.records.commit(*plan.changes, events=plan.events)
        return plan.told

    def _one_platform(self, plan: _Plan, image: ImageRecord, *, force: bool) -> None:
        """One image of several that share their names: they stay the others'."""
        self._check_children(image)
        self._check_users(image, force=force)
        records = self._library.records
        for tag in records.tags.values():
            if image.id in (tag.image_id, *tag.others):
                current = plan.moved.get(tag.name, tag)
                left = sharing.without(current, image.id, records)
                if left is None:
                    self._untag(plan, image, references.parse(tag.name))
                else:
                    plan.moved[tag.name] = left
        for name, moved in plan.moved.items():
            if name not in plan.names:
                plan.changes.append(put(records.tags, moved))
        self._delete(plan, image)

    def _by_id(
        self, plan: _Plan, image: ImageRecord, names: list[Reference], ref: str, *, force: bool
    ) -> None:
        if not force and not _one_reference(names):
            raise Conflict(
                f"conflict: unable to delete {_short(image.id)} (must be forced) - image is"
                " referenced in multiple repositories"
            )
        self._check_children(image)
        self._check_users(image, force=force)
        for name in names:
            self._untag(plan, image, name)
        self._delete(plan, image)

    def _by_name(
        self, plan: _Plan, image: ImageRecord, names: list[Reference], ref: str, *, force: bool
    ) -> None:
        given = references.parse(ref)
        name = given.tagged() if not given.digest else Reference(
            given.domain, given.path, digest=given.digest
        )  # fmt: skip
        tags = [n for n in names if n.tag]
        last = (not [t for t in tags if t != name]) and (
            bool(name.tag) or len([n for n in names if n != name]) == 0
        )
        if last:
            users = self._users(image, running=True) or self._users(image)
            if users and not force:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{ref}" (must force) -'
                    f" container {users[0].id[:12]} is using its referenced image"
                    f" {_short(image.id)}"
                )
        self._untag(plan, image, name)
        if not last:
            if name.tag:
                for digest in self._own_digests(image, name, names):
                    self._untag(plan, image, digest, told=False)
            return
        for other in names:
            if other != name:
                self._untag(plan, image, other, told=other.name != name.name)
        if self._users(image, running=True) or self._children(image):
            return  # the image itself is still needed: only its names go
        self._delete(plan, image)

    def _own_digests(
        self, image: ImageRecord, name: Reference, names: list[Reference]
    ) -> list[Reference]:
        """Names that go with a tag: by the digests by which it alone came, all with the last."""
        digests = [n for n in names if n.digest and n.name == name.name]
        tags = [n for n in names if n.tag and n.name == name.name and n != name]
        if not tags:
            return digests
        kept = [self._library.find(str(tag)) for tag in tags]
        own = {image.manifest, image.index}.difference(*((i.manifest, i.index) for i in kept))
        return [n for n in digests if n.digest in own]

    def _check_users(self, image: ImageRecord, *, force: bool) -> None:
        short = _short(image.id)
        if running := self._users(image, running=True):
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used by"
                f" running container {running[0].id[:12]}"
            )
        if (stopped := self._users(image, running=False)) and not force:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is being used by"
                f" stopped container {stopped[0].id[:12]}"
            )

    def _check_children(self, image: ImageRecord) -> None:
        if self._children(image):
            raise Conflict(
                f"conflict: unable to delete {_short(image.id)} (cannot be forced) - image has"
                " dependent child images"
            )

    def _parents(self, plan: _Plan, image: ImageRecord) -> None:
        """Steps on the way to a deleted image that nothing else needs."""
        named = {tag.image_id for tag in self._library.records.tags.values()}
        parent = self._library.records.images.get(image.parent)
        while parent is not None and parent.id not in named:
            children = [c for c in self._children(parent) if c.id not in plan.images]
            if children or self._users(parent):
                break
            self._delete(plan, parent)
            parent = self._library.records.images.get(parent.parent)

    def _untag(
        self, plan: _Plan, image: ImageRecord, name: Reference, *, told: bool = True
    ) -> None:
        """`told`: with an event; a digest that goes with its tag has none."""
        if str(name) in plan.names:
            return
        plan.names.add(str(name))
        plan.changes.append(delete(self._library.records.tags, str(name)))
        if told:
            plan.events.append(events.of_image("untag", image))
        plan.told.append({"Untagged": name.familiar})
        tag = self._library.records.tags.get(str(name))
        plan.shared.update(tag.others if tag else ())

    def _delete_companions(self, plan: _Plan) -> None:
        """Other platforms' images that had no tag but those that are gone."""
        records = self._library.records
        for each in sorted(plan.shared - plan.images):
            image = records.images.get(each)
            if image is None or self._users(image) or self._children(image):
                continue
            names = [
                n for n in self._library.names_of(each, shared=True) if str(n) not in plan.names
            ]
            if not any(name.tag for name in names):
                for name in names:
                    self._untag(plan, image, name)
                self._delete(plan, image)

    def _delete(self, plan: _Plan, image: ImageRecord) -> None:
        plan.images.add(image.id)
        plan.changes.append(delete(self._library.records.images, image.id))
        plan.events.append(events.of_image("delete", image))
        plan.told.append({"Deleted": image.id})
        for chain in self._last_layers(plan, image):
            plan.told.append({"Deleted": chain})

    def _last_layers(self, plan: _Plan, image: ImageRecord) -> list[str]:
        """The layers, topmost first, that go with the image."""
        needed: set[str] = set()
        records = self._library.records
        tops = [i.chain_id for i in records.images.values() if i.id not in plan.images]
        tops += [c.chain_id for c in records.containers.values()]
        for top in tops:
            chain: str | None = top
            while chain and chain not in needed:
                needed.add(chain)
                layer = records.layers.get(chain)
                chain = layer.parent if layer else None
        gone = []
        chain = image.chain_id
        while chain and chain not in needed:
            gone.append(chain)
            layer = records.layers.get(chain)
            chain = layer.parent if layer else None
        return gone

    def _users(self, image: ImageRecord, *, running: bool | None = None) -> list[ContainerRecord]:
        return [
            c for c in self._library.records.containers.values()
            if c.image_id == image.id and (running is None or c.running == running)
        ]  # fmt: skip

    def _children(self, image: ImageRecord) -> list[ImageRecord]:
        return [i for i in self._library.records.images.values() if i.parent == image.id]

    # -- prune ----------------------------------------------------------------------------------

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """`POST /images/prune`: unnamed images without containers; dangling=false: all unused."""
        image_filters.check(filters, image_filters.PRUNE)
        only_dangling = image_filters.flag(filters, "dangling") is not False
        until = image_filters.until(filters)
        library = self._library
        before = self._layer_bytes()
        plan = _Plan()
        async with library.changing:
            names = library.names()
            secondary = sharing.secondary(library.records)
            for image in sorted(library.records.images.values(), key=lambda i: -i.created):
                own = names.get(image.id, [])
                if (only_dangling and own) or self._users(image) or image.id in secondary:
                    continue
                if until is not None and image.created >= until:
                    continue
                if not image_filters.prune_labels_match(image, filters):
                    continue
                if any(child.id not in plan.images for child in self._children(image)):
                    continue
                for name in own:
                    self._untag(plan, image, name)
                self._delete(plan, image)
            self._delete_companions(plan)
            plan.events.append(Event(type="image", action="prune", actor_id=""))
            await library.records.commit(*plan.changes, events=plan.events)
        await library.sweeper.sweep()
        reclaimed = before - self._layer_bytes()
        return {"ImagesDeleted": plan.told or None, "SpaceReclaimed": reclaimed}

    def _layer_bytes(self) -> int:
        return sum(layer.size for layer in self._library.records.layers.values())


def _one_reference(names: Sequence[Reference]) -> bool:
    """Whether all names are one tag, with digests of its repository."""
    return sum(bool(n.tag) for n in names) <= 1 and len({n.name for n in names}) <= 1


def _is_id(ref: str, image: ImageRecord) -> bool:
    digits = ref.removeprefix("sha256:")
    return bool(_ID.fullmatch(ref)) and image.id.startswith(f"sha256:{digits}")


def _short(image_id: str) -> str:
    return image_id.partition(":")[2][:12]
