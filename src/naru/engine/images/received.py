"""What an archive of images holds, taken in as its stream comes.

Documents are kept aside: small ones in memory, large ones (an SBOM has megabytes) in the blob
store. All else is layers.
"""

from __future__ import annotations

import itertools
import posixpath
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from naru.engine.images.layer_intake import Arrived, KeptLayer, LayerIntake
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import InvalidParameter
from naru.spec.oci import Descriptor
from naru.store.blobs import BlobStore, Lease
from naru.store.compression import Inflated
from naru.store.piece_reader import PieceReader
from naru.store.tarentry import HARDLINK, SYMLINK, Entry
from naru.store.tarstream import TarReader

_MAX_DOCUMENTS = 64 << 20
"""Bytes of all documents of an archive that are in memory."""
_SMALL = 256 << 10
_PIECE = 1 << 20


@dataclass
class Received:
    """What the archive held: documents, and layers by member name."""

    blobs: BlobStore
    documents: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)  # documents, as blobs
    layers: dict[str, Arrived] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def follow(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(8):
            if name not in self.links:
                break
            name = self.links[name]
        return name

    def document(self, name: str) -> bytes:
        found = self.follow(name)
        if found in self.stored:
            return self.blobs.read(self.stored[found])
        data = self.documents.get(found)
        if data is None:
            raise InvalidParameter(f"open {name}: no such file or directory")
        return data

    def has(self, name: str) -> bool:
        """Whether there is such a document."""
        found = self.follow(name)
        return found in self.documents or found in self.stored

    def layer(self, name: str) -> Arrived:
        layer = self.layers.get(self.follow(name))
        if layer is None:
            raise InvalidParameter(f"open {name}: no such file or directory")
        return layer

    def named(self, layer: Descriptor) -> Arrived:
        """The layer of an OCI layout, by the digest that the manifest gives it."""
        found = self.layer(blob_name(layer.digest))
        digests = (found.diff_id, found.blob) if isinstance(found, KeptLayer) else (found.diff_id,)
        if layer.digest not in digests:
            raise InvalidParameter(f"blob {layer.digest} of the archive has another digest")
        return found

    def bring(self, digest: str) -> None:
        """Have the blob store keep what an OCI layout has by this digest. Blocks for the disk."""
        if self.blobs.has(digest):  # a large document, and what is no document, is there already
            return
        data = self.document(blob_name(digest))
        if oci.digest_of(data) != digest:
            raise InvalidParameter(f"blob {digest} of the archive has another digest")
        self.blobs.put(data)


class Receiver:
    """Reads the archive, in a worker thread."""

    def __init__(self, blobs: BlobStore, lease: Lease, intake: LayerIntake) -> None:
        self._blobs = blobs
        self._lease = lease
        self._intake = intake
        self._soon: dict[str, Future[Arrived]] = {}  # layers by member name
        self._in_memory = 0  # bytes of documents

    def receive(self, source: BinaryIO) -> Received:
        received = Received(self._blobs)
        reader = TarReader(cast(BinaryIO, Inflated(source)))
        for entry in reader:
            name = posixpath.normpath(entry.name)
            if not entry.is_dir:
                self._forget(name, received)
            if entry.kind in (SYMLINK, HARDLINK):
                base = posixpath.dirname(name) if entry.kind == SYMLINK else ""
                received.links[name] = posixpath.normpath(posixpath.join(base, entry.linkname))
            elif entry.is_file and entry.sparse is None:
                document = self._file(reader, entry, name, received)
                if document is not None:
                    received.documents[name] = document
                    self._in_memory += len(document)
                    if self._in_memory > _MAX_DOCUMENTS:
                        raise InvalidParameter("the archive holds too many documents")
        received.layers.update({name: soon.result() for name, soon in self._soon.items()})
        return received

    def _forget(self, name: str, received: Received) -> None:
        """Of members of one name the last counts, as when an archive is unpacked to files."""
        self._in_memory -= len(received.documents.pop(name, b""))
        for known in (received.stored, received.layers, received.links):
            known.pop(name, None)
        self._soon.pop(name, None)

    def _file(self, reader: TarReader, entry: Entry, name: str, received: Received) -> bytes | None:
        """Take in a layer, or return a document."""
        pieces = reader.data()
        head = b""
        while len(head) < 512 and (piece := next(pieces, None)) is not None:
            head += bytes(piece)
        small = entry.size <= oci.MAX_DOCUMENT
        whole = cast(BinaryIO, PieceReader(itertools.chain([head], pieces)))
        if head[:1] in (b"{", b"[") or (small and not _is_layer(head, name)):
            if entry.size <= _SMALL:
                return b"".join(iter(lambda: whole.read(_PIECE), b""))
            received.stored[name] = self._keep(whole)
        elif _is_plain_tar(head):
            self._soon[name] = self._intake.take_soon(whole, _digest_named(name))
        else:
            received.layers[name] = KeptLayer("", self._keep(whole))
        return None

    def _keep(self, source: BinaryIO) -> str:
        with self._blobs.ingest() as ingest:
            while piece := source.read(_PIECE):
                ingest.write(piece)
            self._lease.add(ingest.digest)
            return ingest.commit()


def _is_plain_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" or (len(head) >= 512 and not any(head[:512]))


def _is_layer(head: bytes, name: str) -> bool:
    return _is_plain_tar(head) or head[:2] == b"\x1f\x8b" or head[:4] == b"\x28\xb5\x2f\xfd" \
        or name.endswith(".tar")  # fmt: skip


def _digest_named(name: str) -> str:
    """The digest that a member of an OCI layout is named by; "" for another member."""
    digits = name.removeprefix("blobs/sha256/")
    return f"sha256:{digits}" if digits != name else ""


def blob_name(digest: str) -> str:
    return "blobs/" + references.check_digest(digest).replace(":", "/")
