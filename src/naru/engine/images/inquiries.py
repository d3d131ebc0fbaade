"""Questions to registries on a client's behalf: who am I, what is this, what is there."""

from __future__ import annotations

from typing import Any

from naru.registry import login as registry_login
from naru.registry.answers import other_error
from naru.registry.credentials import Credentials
from naru.registry.login import SearchResult
from naru.registry.repository import Repository
from naru.registry.transport import Transport
from naru.spec import oci
from naru.spec.errors import NaruError
from naru.spec.oci import Descriptor, Platform
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
        fetched = await repository.manifest(
            reference.target, told=lambda _, refused: other_error(refused)
        )
        manifest = oci.read_manifest(fetched.data, fetched.media_type)
        if manifest.is_index:
            platforms = [entry.platform for entry in manifest.manifests if entry.platform]
        else:
            platforms = await _platforms(repository, manifest.config)
        return {
            "Descriptor": {
                "mediaType": manifest.media_type,
                "digest": fetched.digest,
                "size": len(fetched.data),
            },
            "Platforms": platforms,
        }


async def _platforms(repository: Repository, config: Descriptor) -> list[Platform]:
    """That of an image's configuration. An artifact that is no image has none, and is no error."""
    try:
        document = await repository.document(config.digest, config.size)
        platform = oci.read_config(document).platform
    except NaruError:
        return []
    return [platform] if platform.os or platform.architecture else []
