"""What `manifest` shows, keeps and sends: texts byte for byte as docker's client writes them."""

from __future__ import annotations

import base64
import hashlib

from naru.cli.failures import CliError
from naru.cli.jsontext import compact, dumps, escape_html, indent, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Platform = dict[str, Any]

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LISTS = (DOCKER_LIST, OCI_INDEX)

_MEMBERS = {DOCKER_MANIFEST: "SchemaV2Manifest", OCI_MANIFEST: "OCIManifest"}
_OPTIONAL = ("os.version", "os.features", "variant")


class ImageManifest:
    """One image's manifest: its bytes as the registry has them, and the platform said of it.

    `platform` has the members of OCI's platform object. `kept` is whether it was read from the
    local store, which docker shows with Go's escapes.
    """

    __slots__ = ("data", "digest", "kept", "media_type", "platform", "reference")

    def __init__(
        self,
        reference: str,
        media_type: str,
        data: bytes,
        platform: Platform,
        *,
        kept: bool = False,
    ) -> None:
        if media_type not in _MEMBERS:
            raise CliError(
                f"unsupported manifest media type and no default available: {media_type}"
            )
        self.reference = reference
        self.media_type = media_type
        self.data = data
        self.digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.platform = platform
        self.kept = kept

    @property
    def blobs(self) -> list[str]:
        """The digests of config and layers."""
        manifest = loads(self.data)
        return [each["digest"] for each in (manifest["config"], *(manifest.get("layers") or ()))]

    def annotate(self, said: Mapping[str, str], features: Sequence[str]) -> None:
        """Say more of the platform, or something else; `features` are added."""
        found = [*(self.platform.get("os.features") or []), *features]
        features = list(dict.fromkeys(found))
        self.platform = platform_of({**self.platform, **said, "os.features": features})

    def text(self) -> str:
        """The manifest on lines, as `inspect` shows it."""
        text = self.data.decode()
        if self.kept:
            return indent(escape_html(compact(text)), "\t")
        return indent(text, "\t") + text[len(text.rstrip(" \t\r\n")) :]

    def document(self) -> str:
        """Everything about it as compact JSON: what `inspect -v` shows and the store keeps."""
        descriptor = {
            "mediaType": self.media_type, "digest": self.digest, "size": len(self.data),
            "platform": self.platform,
        }  # fmt: skip
        raw = base64.b64encode(self.data).decode()
        head = f'"Ref":{dumps(self.reference)},"Descriptor":{dumps(descriptor)},"Raw":"{raw}"'
        member = _MEMBERS[self.media_type]
        return escape_html(f'{{{head},"{member}":{compact(self.data.decode())}}}')


def read_document(text: bytes) -> ImageManifest | None:
    """What `document` wrote; None where an older docker left out the manifest's bytes."""
    found = loads(text)
    descriptor = found["Descriptor"]
    if not found.get("Raw"):
        return None
    return ImageManifest(
        found["Ref"], descriptor["mediaType"], base64.b64decode(found["Raw"]),
        platform_of(descriptor.get("platform") or {}), kept=True,
    )  # fmt: skip


def platform_of(found: Mapping[str, Any]) -> Platform:
    """A platform from a config or a list's entry: what is said of it, in the order of OCI's."""
    platform: Platform = {name: found.get(name) or "" for name in ("architecture", "os")}
    platform.update({name: found[name] for name in _OPTIONAL if found.get(name)})
    return platform


def list_text(images: Sequence[ImageManifest]) -> str:
    """The manifest list of images, as it is shown and pushed; an index where the first is OCI's."""
    entries = [
        {
            "mediaType": image.media_type, "size": len(image.data), "digest": image.digest,
            "platform": image.platform,
        }
        for image in images
    ]  # fmt: skip
    media_type = list_type(images)
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return indent(dumps(document, html=True), "   ")


def list_type(images: Sequence[ImageManifest]) -> str:
    return OCI_INDEX if images and images[0].media_type == OCI_MANIFEST else DOCKER_LIST


def verbose_text(images: ImageManifest | Sequence[ImageManifest]) -> str:
    if isinstance(images, ImageManifest):
        return indent(images.document(), "\t")
    return indent("[" + ",".join(image.document() for image in images) + "]", "\t")
