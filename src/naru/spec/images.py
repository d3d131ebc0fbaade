"""Naru's records of images: what `GET /images/json` needs without opening a blob."""

from __future__ import annotations

import msgspec

from naru.spec.oci import Descriptor


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """The form in which an image came, which is that in which it goes out again."""

    manifest: str = ""  # digest of the manifest it came by, kept as a blob
    index: str = ""  # digest of the index that named the manifest, kept as a blob
    layers: list[Descriptor] = []  # as the manifest names them, lowest first
    attestations: list[str] = []  # digests of the blobs that attest to the manifest
    archived: bool = False  # it came in an archive, and goes into one in the same form


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One image of one platform. Its id is the digest of its config document.

    `layers` are the compressed layers, or empty for an image that has no manifest yet; `diff_ids`
    are the digests of the layers' tars. It may have come more than once, under several names and in
    several forms: of the members that an `Arrival` has too, the stored record has those of the last
    time; one that was found by a name has those of that name.
    """

    id: str  # "sha256:..."
    created: int = 0  # ns since the epoch, from the config; 0 is "never said"
    stored: int = 0  # ns, when it came here
    last_tagged: int = 0  # ns; 0 is "never"
    chain_id: str = ""  # the topmost layer; "" for an image without layers
    diff_ids: list[str] = []
    size: int = 0  # bytes of all its unpacked layers
    os: str = "linux"
    architecture: str = ""
    variant: str = ""
    labels: dict[str, str] = {}
    parent: str = ""  # the image that it was committed or built from, here
    manifest: str = ""
    index: str = ""
    layers: list[Descriptor] = []
    attestations: list[str] = []
    archived: bool = False
    origins: list[str] = []  # repositories that it was pulled from or pushed to: `docker.io/...`


class TagRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A name of an image: `docker.io/library/busybox:latest`, or `...@sha256:<manifest>`."""

    name: str
    image_id: str
    created: int = 0  # ns since the epoch
    others: list[str] = []  # images of other platforms that came by the same index
    arrivals: dict[str, Arrival] = {}  # by image; of one that is not in it: the image's own


class BlobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A blob in the content store: a manifest, an index, a config or a compressed layer."""

    id: str  # its digest, "sha256:..."
    size: int
    media_type: str = ""
    diff_id: str = ""  # of a layer: the digest of its tar
    plain_size: int = 0  # of a layer: the bytes of its tar; 0 is "not known"
    created: int = 0  # ns since the epoch
    recipe: str = ""  # of a layer: how its blob is made from its tar (`store/recipes`)
    kept: bool = True  # False: it is known, but not here, where it came or could come from
    repositories: list[str] = []  # where a registry is known to have it: mounts on push
