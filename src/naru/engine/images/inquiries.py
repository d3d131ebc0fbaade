"""Questions to registries on a client's behalf: who am I, what is this, what is there."""

from __future__ import annotations

from typing import Any

from naru.registry import login as registry_login
from naru.registry.credentials import Credentials
from naru.registry.login import SearchResult
from naru.registry.repository import Repository
from naru.registry.transport import Transport
from naru.spec import oci
from naru.spec.reference import Reference


class Inquiries:
    def __init__(self, *, transport: Transport) -> None:
        self._transport = transport

    async def login(self, server: str, credentials: Credentials) -> str:
        """-> the identity token to use from now on, or ""."""
        return await registry_login.login(self._transport, server, credentials)

    async def search(self, term: str, limit: int, credentials: Credentials) -> list[SearchResult]:
        return await registry_login.search(self._transport, term, limit, credentials)

    async def distribution(self, reference: Reference, credentials: Credentials) -> dict[str, Any]:
        """`GET /distribution/{name}/json`: the manifest's descriptor and its platforms."""
        repository = Repository(self._transport, reference, credentials)
        fetched = await repository.manifest(reference.target)
        manifest = oci.read_manifest(fetched.data, fetched.media_type)
        if manifest.is_index:
            platforms = [entry.platform for entry in manifest.manifests if entry.platform]
        else:
            config = await repository.document(manifest.config.digest, manifest.config.size)
            platforms = [oci.read_config(config).platform]
        return {
            "Descriptor": {
                "mediaType": manifest.media_type,
                "digest": fetched.digest,
                "size": len(fetched.data),
            },
            "Platforms": platforms,
        }
