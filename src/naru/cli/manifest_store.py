"""Manifest lists that are being made: `manifests/` beside config.json, shared with docker's client.

A list is a folder, each of its manifests a file; names are references with `:` and `/` replaced.
"""

from __future__ import annotations

import os
import shutil

from naru.cli.failures import CliError
from naru.cli.manifests import ImageManifest, read_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.spec.reference import Reference


class ManifestStore:
    def __init__(self, config_dir: str) -> None:
        self._root = os.path.join(config_dir, "manifests")

    def exists(self, target: Reference) -> bool:
        return os.path.isdir(self._folder(target))

    def get(self, target: Reference, manifest: Reference) -> ImageManifest | None:
        """A list's manifest; None where there is none, or an older docker kept it without bytes."""
        path = os.path.join(self._folder(target), _filename(manifest))
        return _read(path) if os.path.exists(path) else None

    def images(self, target: Reference) -> list[ImageManifest] | None:
        """A list's manifests by the order of their names; None where there is no such list."""
        folder = self._folder(target)
        if not self.exists(target):
            return None
        images = []
        for name in sorted(os.listdir(folder)):
            image = _read(os.path.join(folder, name))
            if image is None:
                raise CliError(f"{folder}/{name}: kept by an older docker: create the list again")
            images.append(image)
        return images

    def save(self, target: Reference, manifest: Reference, image: ImageManifest) -> None:
        folder = self._folder(target)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, _filename(manifest))
        with open(path, "w", encoding="utf-8") as file:
            file.write(image.document())

    def remove(self, target: Reference) -> None:
        shutil.rmtree(self._folder(target))

    def _folder(self, target: Reference) -> str:
        return os.path.join(self._root, _filename(target))


def missing(reference: Reference) -> CliError:
    return CliError(f"No such manifest: {reference}")


def _filename(reference: Reference) -> str:
    return str(reference).replace(":", "-").replace("/", "_")


def _read(path: str) -> ImageManifest | None:
    with open(path, "rb") as file:
        text = file.read()
    try:
        return read_document(text)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CliError(f"invalid manifest file {path}: {error}") from None
