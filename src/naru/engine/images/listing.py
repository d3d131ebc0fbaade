"""`docker images`, `image inspect` and `history`: what the records and configs say, as the API has
it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from naru.engine.images import filters as image_filters
from naru.engine.images import platforms
from naru.engine.images.library import Library
from naru.engine.images.manifests import Manifests, identity_of
from naru.spec.images import ImageRecord
from naru.spec.layers import chains
from naru.spec.oci import Platform, format_time, parse_time
from naru.spec.reference import Reference


class Listing:
    def __init__(self, *, library: Library) -> None:
        self._library = library
        self._manifests = Manifests(library=library)

    def images(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
        shared_size: bool = False,
        manifests: bool = False,
        identity: bool = False,
    ) -> list[dict[str, Any]]:
        """`GET /images/json`, newest first. `identity` is of the manifests.

        An image that has no manifest yet (loaded, imported, committed) has no `Manifests` and no
        `Descriptor`, as all have none in dockerd's own image store: a digest would be of what
        nobody can ask for. The first push makes it one.
        """
        given = dict(filters or {})
        image_filters.check(given, image_filters.LIST)
        library = self._library
        names = library.names()
        secondary = platforms.secondary(library.records)
        parents = {image.parent for image in library.records.images.values() if image.parent}
        shared = self._shared_sizes() if shared_size else {}
        used = Counter(c.image_id for c in library.records.containers.values())
        shown = []
        for image in self._chosen(given):
            all_own = names.get(image.id, [])
            if not all_own and image.id in secondary:
                continue  # shown with the image of another platform
            own = all_own
            if patterns := given.get("reference"):
                own = [n for n in own if image_filters.reference_matches(n, patterns)]
                if not own:
                    continue
            dangling = image_filters.flag(given, "dangling")
            if dangling is not None and dangling != (not all_own):
                continue
            if not all_own and image.id in parents and not all:
                continue  # a step on the way to another image
            summary = _summary(image, own, shared.get(image.id, -1), used[image.id])
            if manifests and image.manifest:
                came = self._manifests.as_named(image, own)
                summary["Manifests"] = self._manifests.summaries(came, identity=identity)
                summary["Descriptor"] = self._manifests.descriptor(came[0])
            shown.append(summary)
        shown.sort(key=lambda item: item["Created"], reverse=True)
        return shown

    def _chosen(self, given: Mapping[str, Sequence[str]]) -> Iterable[ImageRecord]:
        before = [self._library.find(ref).created for ref in given.get("before", ())]
        since = [self._library.find(ref).created for ref in given.get("since", ())]
        until = image_filters.until(given)
        wanted = given.get("label", ())
        for image in self._library.records.images.values():
            if before and image.created >= min(before):
                continue
            if since and image.created <= max(since):
                continue
            if until is not None and image.created >= until:
                continue
            if wanted and not image_filters.labels_match(image.labels, wanted):
                continue
            yield image

    def _shared_sizes(self) -> dict[str, int]:
        """Bytes of each image's layers that another image has too."""
        uses: Counter[str] = Counter()
        owned: dict[str, list[str]] = {}
        for image in self._library.records.images.values():
            owned[image.id] = list(chains(image.diff_ids))
            uses.update(owned[image.id])
        layers = self._library.records.layers
        sizes = {}
        for image_id, own in owned.items():
            common = (layers.get(chain) for chain in own if uses[chain] > 1)
            sizes[image_id] = sum(layer.size for layer in common if layer)
        return sizes

    # -- one image ------------------------------------------------------------------------------

    def inspect(
        self, ref: str, *, manifests: bool = False, platform: Platform | None = None
    ) -> dict[str, Any]:
        """`GET /images/{name}/json`; without `Manifests` and `Descriptor` as in `images`."""
        library = self._library
        sharing = library.find_all(ref)
        image = sharing[0] if platform is None else platforms.choose(ref, sharing, platform)
        document = msgspec.json.decode(library.blobs.read(image.id))
        names = library.names_of(image.id, shared=True)
        if library.is_name(ref):  # by an id, all by which it came
            came = (image.manifest, image.index)
            names = [name for name in names if name.tag or name.digest in came]
        shown: dict[str, Any] = {
            "Id": image.id,
            "RepoTags": [name.familiar for name in names if name.tag],
            "RepoDigests": [name.familiar for name in names if name.digest],
            "Parent": image.parent,
            "Comment": document.get("comment", ""),
            "Created": document.get("created") or "0001-01-01T00:00:00Z",
            "DockerVersion": document.get("docker_version", ""),
            "Author": document.get("author", ""),
            "Config": document.get("config"),
            "Architecture": image.architecture,
        }
        if image.variant:
            shown["Variant"] = image.variant
        shown["Os"] = image.os
        if document.get("os.version"):
            shown["OsVersion"] = document["os.version"]
        if document.get("container"):
            shown["Container"] = document["container"]
        if document.get("container_config"):
            shown["ContainerConfig"] = document["container_config"]
        data = library.layers.image_data(image.chain_id) if image.chain_id else {}
        tagged = format_time(image.last_tagged) if image.last_tagged else "0001-01-01T00:00:00Z"
        shown |= {
            "Size": image.size,
            "VirtualSize": image.size,
            "GraphDriver": {"Data": data or None, "Name": library.layers.driver.name},
            "RootFS": {"Type": "layers", "Layers": image.diff_ids},
            "Metadata": {"LastTagTime": tagged},
        }
        if image.manifest:
            if manifests:
                shown["Manifests"] = self._manifests.summaries(sharing)
            shown["Descriptor"] = self._manifests.descriptor(image, alone=platform is not None)
        if image.origins:
            shown["Identity"] = identity_of(image)
        return shown

    def history(self, ref: str, *, platform: Platform | None = None) -> list[dict[str, Any]]:
        """`GET /images/{name}/history`, newest first."""
        library = self._library
        image = library.find(ref, platform)
        config = library.config(image.id)
        tags = {i: [n.familiar for n in own if n.tag] for i, own in library.names().items()}
        layer_chains = chains(image.diff_ids)
        shown = []
        for step in config.history:
            size = 0
            if not step.empty_layer:
                layer = library.records.layers.get(next(layer_chains, ""))
                size = layer.size if layer else 0
            shown.append({
                "Id": "<missing>",
                "Created": parse_time(step.created) // 1_000_000_000,
                "CreatedBy": step.created_by,
                "Tags": None,
                "Size": size,
                "Comment": step.comment,
            })  # fmt: skip
        shown.reverse()
        ancestor: ImageRecord | None = image
        for item in shown:
            if ancestor is None:
                break
            item["Id"] = ancestor.id
            item["Tags"] = tags.get(ancestor.id) or None
            ancestor = library.records.images.get(ancestor.parent)
        return shown


def _summary(
    image: ImageRecord, names: Sequence[Reference], shared: int, containers: int
) -> dict[str, Any]:
    return {
        "Containers": containers,
        "Created": image.created // 1_000_000_000,
        "Id": image.id,
        "Labels": image.labels or None,
        "ParentId": image.parent,
        "RepoDigests": [name.familiar for name in names if name.digest],
        "RepoTags": [name.familiar for name in names if name.tag],
        "SharedSize": shared,
        "Size": image.size,
        "VirtualSize": image.size,
    }
