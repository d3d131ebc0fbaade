"""Reads what the layers below a container or an image say, for drawing."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from naru.engine.containers.containers import Containers
from naru.engine.images.library import Library
from naru.engine.storage.stack import Layer, Stack, Touch, Trace, trace
from naru.kernel.inroot import open_in_root
from naru.spec.errors import InternalError, InvalidParameter, NaruError, NotFound
from naru.spec.images import ImageRecord
from naru.spec.layers import INIT, LayerRecord, chains
from naru.store.driver import ChangeKind, StorageDriver
from naru.store.switchable_layers import SwitchableLayers

_LEAST_DIGITS = 6


class Inspection(msgspec.Struct, frozen=True, rename="pascal"):
    stack: Stack
    paths: tuple[Trace, ...] = ()


class _Subject(NamedTuple):
    kind: str
    name: str
    id: str
    chain: str  # the topmost image layer
    own: str  # the container's layer, "" for none
    image: ImageRecord | None


class InspectLayers:
    def __init__(
        self, *, containers: Containers, library: Library, layers: SwitchableLayers
    ) -> None:
        self._containers = containers
        self._library = library
        self._layers = layers

    async def __call__(self, ref: str, paths: Sequence[str] = ()) -> Inspection:
        """`ref` is a container, an image, or a layer by its diff id, chain id or driver's name."""
        for path in paths:
            if not path.startswith("/"):
                raise InvalidParameter(f"path: {path!r} does not begin with a slash")
        subject = self._find(ref)
        outline = self._outline(subject)
        async with self._layers.reading() as driver:
            try:
                return await asyncio.to_thread(self._read, driver, subject, outline, paths)
            except OSError as error:
                raise InternalError(f"cannot read the layers of {ref}: {error}") from error

    # -- what is asked for ----------------------------------------------------------------------

    def _find(self, ref: str) -> _Subject:
        try:
            container = self._containers.find(ref)
        except NotFound:
            pass
        else:
            image = self._library.records.images.get(container.image_id)
            return _Subject(
                "container", container.name, container.id, container.chain_id, container.id, image
            )
        try:
            image = self._library.find(ref)
        except NotFound:
            pass
        else:
            names = self._library.names_of(image.id)
            name = names[0].familiar if names else image.id[7:19]
            return _Subject("image", name, image.id, image.chain_id, "", image)
        layer = self._layer(ref)
        return _Subject(
            "layer", layer.diff_id[7:19], layer.chain_id, layer.chain_id, "", self._user(layer)
        )

    def _layer(self, ref: str) -> LayerRecord:
        digits = ref.removeprefix("sha256:")
        found = [
            layer
            for layer in self._library.records.layers.values()
            if layer.diff_id
            and len(digits) >= _LEAST_DIGITS
            and any(
                name.removeprefix("sha256:").startswith(digits)
                for name in (layer.chain_id, layer.diff_id, layer.storage_id)
            )
        ]
        if not found:
            raise NotFound(f"No such container, image or layer: {ref}")
        if len({layer.chain_id for layer in found}) > 1:
            raise InvalidParameter(f"several layers begin with {ref}: give more of its digits")
        return found[0]

    def _user(self, layer: LayerRecord) -> ImageRecord | None:
        """An image that has the layer: its history says how it was made."""
        for image in self._library.records.images.values():
            if layer.diff_id in image.diff_ids:
                return image
        return None

    def _outline(self, subject: _Subject) -> list[Layer]:
        """The layers, topmost first, without what is in them."""
        found: list[Layer] = []
        records = self._library.records
        if subject.own:
            found.append(Layer(role="container", storage_id=subject.own))
            init = records.layers.get(INIT + subject.chain)
            if init is not None:
                found.append(Layer(role="mount points", storage_id=init.storage_id))
        chain: list[LayerRecord] = []
        at = records.layers.get(subject.chain)
        while at is not None:
            chain.append(at)
            at = records.layers.get(at.parent) if at.parent else None
        made_by = self._made_by(subject.image)
        for number, layer in enumerate(chain):
            found.append(
                Layer(
                    role="image",
                    number=len(chain) - number,
                    storage_id=layer.storage_id,
                    diff_id=layer.diff_id,
                    created_by=made_by.get(layer.chain_id, ""),
                    size=layer.size,
                )
            )
        return found

    def _made_by(self, image: ImageRecord | None) -> dict[str, str]:
        """`created_by` of the image's history, by chain id."""
        if image is None:
            return {}
        try:
            config = self._library.config(image.id)
        except (NaruError, OSError):
            return {}  # a picture without captions is better than none
        steps = [step for step in config.history if not step.empty_layer]
        by_chain = zip(chains(image.diff_ids), steps, strict=False)
        return {chain: step.created_by for chain, step in by_chain}

    # -- in a worker thread ---------------------------------------------------------------------

    def _read(
        self,
        driver: StorageDriver,
        subject: _Subject,
        outline: Sequence[Layer],
        paths: Sequence[str],
    ) -> Inspection:
        if not outline:
            stack = Stack(
                kind=subject.kind, name=subject.name, id=subject.id, driver=driver.name, layers=()
            )
            return Inspection(stack)
        top = outline[0].storage_id
        with self._layers.peek(top) as root:
            layers = []
            seen: set[str] = set()
            inodes: set[tuple[int, int]] = set()
            for layer in outline:
                touches = tuple(_touches(driver, layer.storage_id, str(root), seen, inodes))
                size = layer.size
                if layer.role != "image":
                    size = sum(touch.size for touch in touches if not touch.again)
                layers.append(msgspec.structs.replace(layer, touches=touches, size=size))
            target = self._layers.target(top)
            stack = Stack(
                kind=subject.kind,
                name=subject.name,
                id=subject.id,
                driver=driver.name,
                merged=str(target) if root == target else "",
                layers=tuple(layers),
            )
            return Inspection(stack, tuple(_traced(stack, str(root), path) for path in paths))


def _touches(
    driver: StorageDriver, layer: str, root: str, seen: set[str], inodes: set[tuple[int, int]]
) -> list[Touch]:
    """`seen` are the paths that layers above have: what is at `root` is not this layer's then.

    `inodes` are the files that were met: one with several names takes its space once.
    """
    found = []
    for change in driver.changes(layer):
        directory, size, again = False, 0, False
        if change.kind != ChangeKind.DELETED:
            try:
                status = os.lstat(root + change.path)
            except (FileNotFoundError, NotADirectoryError):
                pass  # hidden above: of what kind it is does not show
            else:
                directory = stat.S_ISDIR(status.st_mode)
                if stat.S_ISREG(status.st_mode) and change.path not in seen:
                    size = status.st_size
                    inode = (status.st_dev, status.st_ino)
                    again = inode in inodes
                    inodes.add(inode)
            seen.add(change.path)
        found.append(Touch(change.path, change.kind, directory, size, again))
    return found


def _traced(stack: Stack, root: str, asked: str) -> Trace:
    path = _resolved(root, asked)
    try:
        status = os.lstat(root + path)
    except (FileNotFoundError, NotADirectoryError):
        return trace(stack, path, exists=False, directory=False, size=0)
    return trace(
        stack,
        path,
        exists=True,
        directory=stat.S_ISDIR(status.st_mode),
        size=status.st_size if stat.S_ISREG(status.st_mode) else 0,
    )


def _resolved(root: str, asked: str) -> str:
    """The path with the links on the way to it followed, inside the root."""
    clean = os.path.normpath(asked)
    if clean == "/":
        return "/"
    parent, _, name = clean.rpartition("/")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inner = open_in_root(fd, parent or "/", os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return clean
    finally:
        os.close(fd)
    try:
        where = os.readlink(f"/proc/self/fd/{inner}")
    finally:
        os.close(inner)
    inside = os.path.relpath(where, os.path.realpath(root))
    return f"/{name}" if inside == "." else f"/{inside}/{name}"
