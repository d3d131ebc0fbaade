"""Naru's record of a read-only layer: an unpacked OCI layer, named by its chain id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

INIT = "init:"
"""Before an image's chain id: the name of the layer that its containers' own are made on."""


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A layer is complete when, and only when, its record exists."""

    chain_id: str  # "sha256:...", or behind `INIT`
    diff_id: str  # "sha256:..." of the uncompressed tar; "" behind `INIT`
    parent: str | None  # chain id of the layer below
    driver: str  # the storage driver that holds it
    storage_id: str  # the driver's name for it, 64 hex digits
    size: int  # bytes of the regular files in it
    created: int  # ns since the epoch
    tar_size: int = 0  # bytes of the tar; 0 is not known


def chain_id(parent: str | None, diff_id: str) -> str:
    """OCI image spec, "Layer ChainID": the name of a layer together with all below it."""
    if parent is None:
        return diff_id
    return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest()


def chains(diff_ids: Iterable[str]) -> Iterator[str]:
    """The chain ids of an image's layers, the lowest first."""
    return chains_over(None, diff_ids)


def chains_over(parent: str | None, diff_ids: Iterable[str]) -> Iterator[str]:
    """Those of layers over the one with the chain id `parent`."""
    for diff_id in diff_ids:
        parent = chain_id(parent, diff_id)
        yield parent
