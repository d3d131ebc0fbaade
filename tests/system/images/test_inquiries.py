"""What registries are asked without moving an image: search terms, and what a name is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from naru.engine.images.inquiries import Inquiries
from naru.registry.credentials import ANONYMOUS
from naru.registry.repository import Repository
from naru.registry.upload import Uploader
from naru.spec import oci
from naru.spec.errors import InternalError, NaruError, NotFound, Unavailable
from naru.spec.oci import Platform
from naru.spec.reference import parse
from tests.system.images.archives import collect, docker_archive, oci_index_archive, pieces, sha
from tests.system.images.conftest import Images


class Index(BaseHTTPRequestHandler):
    """A registry with the search of the first version of the API."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        found = [{"name": f"{query['q'][0]}-{number}", "star_count": number} for number in (2, 1)]
        body = json.dumps({"num_results": 2, "results": found}).encode()
        self.send_response(200 if url.path == "/v1/search" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_registry_is_searched(images: Images, index: str, registry: str) -> None:
    inquiries = Inquiries(transport=images.transport)
    found = await inquiries.search(f"{index}/tool", 25, ANONYMOUS)
    assert [(each.name, each.star_count) for each in found] == [("tool-2", 2), ("tool-1", 1)]
    assert len(await inquiries.search(f"{index}/tool", 1, ANONYMOUS)) == 1
    with pytest.raises(InternalError, match="this registry has no search"):
        await inquiries.search(f"{registry}/tool", 25, ANONYMOUS)
    with pytest.raises(Unavailable, match=r'/v1/search\?q=tool&n=25": dial tcp 127.0.0.1:1'):
        await inquiries.search("127.0.0.1:1/tool", 25, ANONYMOUS)
    for bad in ((f"http://{index}/tool", 25), (f"{index}/tool", 101)):
        with pytest.raises(NaruError):
            await inquiries.search(*bad, ANONYMOUS)


async def test_every_kind_of_manifest_is_told(
    images: Images, registry: str, tmp_path: Path
) -> None:
    inquiries = Inquiries(transport=images.transport)
    here = oci.host_platform()
    single, several = f"{registry}/told/single:1", f"{registry}/told/several:1"
    await collect(images.loader.load(pieces(docker_archive(single))))
    await collect(
        images.loader.load(pieces(oci_index_archive(several, [str(here), "linux/arm64"])))
    )
    for name in (single, several):
        await collect(images.pusher.push(parse(name)))
    told = await inquiries.distribution(parse(single), ANONYMOUS)
    assert told["Descriptor"]["mediaType"] == oci.DOCKER_MANIFEST
    assert told["Platforms"] == [Platform("amd64", "linux")]
    told = await inquiries.distribution(parse(several), ANONYMOUS)
    assert told["Descriptor"]["mediaType"] == oci.OCI_INDEX
    assert {each.architecture for each in told["Platforms"]} == {here.architecture, "arm64"}
    artifact = parse(f"{registry}/told/artifact:1")
    repository = Repository(images.transport, artifact, push=True)
    data = await _artifact(await Uploader.open(repository), tmp_path)
    told = await inquiries.distribution(artifact, ANONYMOUS)
    assert told["Descriptor"]["digest"] == sha(data)
    assert told["Platforms"] == []
    with pytest.raises(NotFound, match=r"^manifest unknown: manifest unknown$"):
        await inquiries.distribution(parse(f"{registry}/told/single:no"), ANONYMOUS)


async def _artifact(uploader: Uploader, folder: Path) -> bytes:
    """What is no image: its configuration is a text."""
    text = b"no configuration"
    (folder / "text").write_bytes(text)
    await uploader.upload(sha(text), len(text), folder / "text", lambda _: None)
    part = {"mediaType": "text/plain", "digest": sha(text), "size": len(text)}
    data = json.dumps({
        "schemaVersion": 2, "mediaType": oci.OCI_MANIFEST, "config": part, "layers": [part],
    }).encode()  # fmt: skip
    await uploader.put_manifest("1", data, oci.OCI_MANIFEST)
    return data
