"""What an image's attestations say; the image and its blobs are made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from naru.engine.images import platforms
from naru.engine.images.library import Library
from naru.engine.images.statements import statements
from naru.spec import oci
from naru.spec.errors import InternalError, NotFound
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform, digest_of
from naru.store.blobs import BlobStore

PROVENANCE = b'{"predicateType": "https://slsa.dev/provenance/v0.2",  "predicate": {}}'
PACKAGES = b'{"predicateType": "https://spdx.dev/Document"}'
MANIFEST = b'{"schemaVersion": 2}'


class Image:
    """An image of this machine's platform whose index attests to it. `library` finds only it."""

    def __init__(self, root: Path, provenance: bytes = PROVENANCE) -> None:
        self.blobs = BlobStore(root)
        layers = [
            self.layer(provenance, "https://slsa.dev/provenance/v0.2"),
            self.layer(PACKAGES, "https://spdx.dev/Document"),
            self.layer(b"no statement", ""),
        ]
        self.attestation = self.put({"schemaVersion": 2, "layers": layers})
        self.manifest = self.blobs.put(MANIFEST)
        index = self.put({
            "schemaVersion": 2,
            "mediaType": oci.OCI_INDEX,
            "manifests": [
                {"digest": self.manifest, "size": len(MANIFEST)},
                self.attesting(self.attestation, self.manifest),
                self.attesting(digest_of(b"elsewhere"), digest_of(b"another")),
            ],
        })  # fmt: skip
        here = oci.host_platform()
        self.record = ImageRecord(
            id="sha256:" + "1" * 64, manifest=self.manifest, index=index,
            os=here.os, architecture=here.architecture, variant=here.variant,
        )  # fmt: skip

    def put(self, document: dict[str, Any]) -> str:
        return self.blobs.put(json.dumps(document).encode())

    def layer(self, data: bytes, predicate: str) -> dict[str, Any]:
        annotations = {"in-toto.io/predicate-type": predicate} if predicate else {}
        return {
            "mediaType": "application/vnd.in-toto+json", "digest": self.blobs.put(data),
            "size": len(data), "annotations": annotations,
        }  # fmt: skip

    def attesting(self, digest: str, image: str) -> dict[str, Any]:
        about = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image,
        }
        return {"digest": digest, "size": 1, "annotations": about}

    @property
    def library(self) -> Library:
        def find(ref: str, platform: Platform | None = None) -> ImageRecord:
            if platform is None:
                return self.record
            return platforms.choose(ref, [self.record], platform)

        return cast(Library, SimpleNamespace(find=find, blobs=self.blobs))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "blobs")


async def test_without_bodies_no_statement_is_read(image: Image) -> None:
    found = await statements(image.library, "x")
    assert [each["PredicateType"] for each in found] == [
        "https://slsa.dev/provenance/v0.2",
        "https://spdx.dev/Document",
    ]
    assert found[1]["Descriptor"] == {
        "mediaType": "application/vnd.in-toto+json", "digest": digest_of(PACKAGES),
        "size": len(PACKAGES),
        "annotations": {"in-toto.io/predicate-type": "https://spdx.dev/Document"},
    }  # fmt: skip
    assert "Statement" not in found[0]


async def test_a_body_is_as_its_maker_wrote_it(image: Image) -> None:
    types = ["https://slsa.dev/provenance/v0.2", "https://example.com/none"]
    [found] = await statements(image.library, "x", types=types, bodies=True)
    assert msgspec.json.encode(found).endswith(b'"Statement":' + PROVENANCE + b"}")
    assert await statements(image.library, "x", types=types[1:], bodies=True) == []


async def test_an_image_without_an_index_has_none(image: Image) -> None:
    image.record = msgspec.structs.replace(image.record, index="")
    assert await statements(image.library, "x") == []


async def test_another_platform_is_not_found(image: Image) -> None:
    with pytest.raises(NotFound, match="does not match"):
        await statements(image.library, "x", platform=Platform("s390x", "linux"))
    image.record = msgspec.structs.replace(image.record, architecture="s390x")
    with pytest.raises(NotFound, match="does not match"):
        await statements(image.library, "x")
    found = await statements(image.library, "x", platform=Platform("s390x", "linux"))
    assert len(found) == 2


async def test_what_did_not_come_along_is_said(image: Image) -> None:
    image.blobs.path(digest_of(PROVENANCE)).unlink()
    assert len(await statements(image.library, "x")) == 2
    with pytest.raises(InternalError, match="not available locally"):
        await statements(image.library, "x", bodies=True)
    image.blobs.path(image.attestation).unlink()
    with pytest.raises(NotFound, match="did not come with the image"):
        await statements(image.library, "x")


async def test_a_statement_that_is_no_json_is_said(tmp_path: Path) -> None:
    image = Image(tmp_path / "blobs", provenance=b"{")
    with pytest.raises(InternalError, match="attestation statement"):
        await statements(image.library, "x", bodies=True)
