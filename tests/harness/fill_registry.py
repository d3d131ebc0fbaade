"""Fills a registry with manifests of every kind: `python -m tests.harness.fill_registry URL`.

Below `app`: amd64, armv7, win (schema 2), oci, ociarm, bare (OCI), list, index, mixed, attested,
nested. They differ in how their JSON is laid out, too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import urllib.request
from typing import Any

DOCKER, OCI = "application/vnd.docker.", "application/vnd.oci.image."
LIST, INDEX = f"{DOCKER}distribution.manifest.list.v2+json", f"{OCI}index.v1+json"
SCHEMA2, MANIFEST = f"{DOCKER}distribution.manifest.v2+json", f"{OCI}manifest.v1+json"
LINUX = {"architecture": "amd64", "os": "linux"}
ARM = {"architecture": "arm", "os": "linux", "variant": "v7"}
ARM64 = {"architecture": "arm64", "os": "linux", "variant": "v8"}
WINDOWS = {
    "architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k"],
}  # fmt: skip

Json = dict[str, Any]


class Filler:
    def __init__(self, url: str, name: str = "app") -> None:
        self._base = f"{url}/v2/{name}"

    def _call(self, method: str, url: str, data: bytes, media_type: str) -> Any:
        request = urllib.request.Request(
            url, data=data, method=method, headers={"Content-Type": media_type}
        )
        with urllib.request.urlopen(request) as answer:
            return answer.headers

    def blob(self, data: bytes) -> Json:
        octets = "application/octet-stream"
        where = self._call("POST", f"{self._base}/blobs/uploads/", b"", octets)["Location"]
        found = _described(data)
        separator = "&" if "?" in where else "?"
        self._call("PUT", f"{where}{separator}digest={found['digest']}", data, octets)
        return found

    def manifest(self, tag: str, media_type: str, document: Json, indent: int | None) -> Json:
        data = json.dumps({"schemaVersion": 2, **document}, indent=indent).encode()
        self._call("PUT", f"{self._base}/manifests/{tag}", data, media_type)
        return {"mediaType": media_type, **_described(data)}

    def docker_image(self, tag: str, platform: Json) -> Json:
        config = self.blob(json.dumps({**platform, "config": {}}).encode())
        layer = self.blob(gzip.compress(tag.encode(), mtime=0))
        return self.manifest(tag, SCHEMA2, {
            "mediaType": SCHEMA2,
            "config": {"mediaType": f"{DOCKER}container.image.v1+json", **config},
            "layers": [{"mediaType": f"{DOCKER}image.rootfs.diff.tar.gzip", **layer}],
        }, 3)  # fmt: skip

    def oci_image(self, tag: str, platform: Json, **more: Any) -> Json:
        config = self.blob(json.dumps({**platform, "config": {}}).encode())
        layer = self.blob(gzip.compress(tag.encode(), mtime=0))
        return self.manifest(tag, MANIFEST, {
            "config": {"mediaType": f"{OCI}config.v1+json", **config},
            "layers": [{"mediaType": f"{OCI}layer.v1.tar+gzip", **layer,
                        "annotations": {"x": "<y>&é", "z": ' "{[:, \\'}}],
            **more,
        }, None)  # fmt: skip

    def list(self, tag: str, media_type: str, *entries: Json) -> Json:
        document = {"mediaType": media_type, "manifests": list(entries)}
        return self.manifest(tag, media_type, document, 2)

    def fill(self) -> None:
        amd64 = self.docker_image("amd64", LINUX)
        armv7 = self.docker_image("armv7", ARM)
        win = self.docker_image("win", WINDOWS)
        oci = self.oci_image("oci", LINUX, mediaType=MANIFEST, annotations={"a": "b<c>"})
        ociarm = self.oci_image("ociarm", ARM64)
        bare = self.oci_image("bare", {})
        first = {**amd64, "platform": {**LINUX, "features": ["sse4"]}}
        self.list(
            "list", LIST, first, {**armv7, "platform": ARM}, {**win, "platform": WINDOWS}
        )  # fmt: skip
        second = {**ociarm, "annotations": {"k": "v"}, "platform": ARM64}
        self.list("index", INDEX, {**oci, "platform": LINUX}, second)
        self.list("mixed", INDEX, first, ociarm)
        unknown = {"architecture": "unknown", "os": "unknown"}
        self.list("attested", INDEX, {**oci, "platform": LINUX}, {**bare, "platform": unknown})
        inner = self.list("inner", INDEX, {**oci, "platform": LINUX})
        self.list("nested", INDEX, {**inner, "platform": LINUX})


def _described(data: bytes) -> Json:
    return {"size": len(data), "digest": "sha256:" + hashlib.sha256(data).hexdigest()}


if __name__ == "__main__":
    Filler(sys.argv[1]).fill()
