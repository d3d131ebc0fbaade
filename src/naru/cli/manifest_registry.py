"""Registries as `manifest` asks them: by itself, without the daemon, as docker's client does.

The daemon's mirrors and insecure registries do not count here: `--insecure` does. This imports the
registry protocol, and with it msgspec and aiohttp: no other command may, for the sake of its start.
"""

from __future__ import annotations

import asyncio

from naru.cli.credentials import Config
from naru.cli.failures import CliError
from naru.cli.jsontext import loads
from naru.cli.manifests import LISTS, ImageManifest, list_text, list_type, platform_of
from naru.registry.answers import Refused, Unreachable
from naru.registry.credentials import Credentials
from naru.registry.endpoints import Endpoint, Resolver
from naru.registry.repository import Repository
from naru.registry.tokens import NoCredentials
from naru.registry.transport import Transport
from naru.registry.upload import Uploader
from naru.spec.errors import NaruError
from naru.spec.oci import ACCEPT, MAX_DOCUMENT, digest_of
from naru.spec.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

_USER_AGENT = "Naru-Client/0.1.0 (linux)"
_NOT_HERE = ("", "UNAUTHORIZED", "MANIFEST_UNKNOWN", "NAME_UNKNOWN")
"""Codes of answers that docker sums up as `no such manifest`."""
_PLAIN = "server gave HTTP response to HTTPS client"


class ManifestRegistry:
    """The registry `domain`, for an `async with` block. Its errors are `CliError`."""

    def __init__(self, config_dir: str, domain: str, *, insecure: bool) -> None:
        self._insecure = insecure
        self._transport = Transport(
            resolver=Resolver(insecure=[domain] if insecure else []), user_agent=_USER_AGENT
        )
        found = Config(config_dir).credentials(domain)
        self._credentials = Credentials(
            found.get("username", ""), found.get("password", ""), found.get("identitytoken", "")
        )

    async def __aenter__(self) -> ManifestRegistry:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.close()

    async def fetch(self, reference: Reference) -> ImageManifest | list[ImageManifest]:
        """One image's manifest, or those of a list in its order."""
        endpoint = await self._endpoint(reference)
        if endpoint is None:
            raise _missing(reference)
        repository = Repository(self._transport, reference, self._credentials)
        source = _Source(repository, endpoint, reference)
        media_type, data = await source.manifest(reference.tag or reference.digest)
        if reference.digest and digest_of(data) != reference.digest:
            raise CliError(f"manifest verification failed for digest {reference.digest}")
        if media_type not in LISTS:
            return await source.image(str(reference), media_type, data)
        entries = _object(data).get("manifests") or []
        if not entries:
            raise _missing(reference)
        return list(await asyncio.gather(*map(source.entry, entries)))

    async def _endpoint(self, reference: Reference) -> Endpoint | None:
        """The first that answers; plain HTTP only where that was allowed."""
        for endpoint in self._transport.resolver.endpoints(reference.domain, push=True):
            if endpoint.url.startswith("http:") and not self._insecure:
                continue
            try:
                async with self._transport.request("GET", f"{endpoint.url}/v2/", endpoint=endpoint):
                    return endpoint
            except Refused:
                return endpoint  # it asks for a password, which a ping does not have
            except Unreachable as error:
                if _PLAIN not in str(error):
                    text = f"failed to configure transport: error pinging v2 registry: {error}"
                    raise CliError(text) from None
        return None

    async def push(
        self, target: Reference, images: Sequence[ImageManifest], told: Callable[[str], None]
    ) -> None:
        """Push a list, and before it what it names of other repositories of the same registry."""
        from naru.spec.reference import parse

        others = [(image, parse(image.reference)) for image in images]
        others = [(image, source) for image, source in others if source.path != target.path]
        repository = Repository(
            self._transport, target, self._credentials, push=True,
            mount_from=sorted({source.path for _, source in others}),
        )  # fmt: skip
        wanted = target
        try:
            uploader = await Uploader.open(repository)
            for image, source in others:
                for digest in image.blobs:
                    mounted = await uploader.mount(digest, source.path)
                    # Layers of Windows may be kept elsewhere, where no registry can mount them.
                    if not mounted and image.platform["os"] != "windows":
                        raise CliError(f"error mounting {source.name}@{digest} to {target}")
            for image, _ in others:
                wanted = target.with_digest(image.digest)
                await uploader.put_manifest(image.digest, image.data, image.media_type)
                told(f"Pushed ref {wanted} with digest: {image.digest}")
            wanted = target
            data = list_text(images).encode()
            await uploader.put_manifest(target.target, data, list_type(images))
        except NaruError as error:
            raise CliError(f"failed to put manifest {wanted}: {error}") from None
        told(digest_of(data))


class _Source:
    """The manifests of one repository, at the endpoint that answered."""

    def __init__(self, repository: Repository, endpoint: Endpoint, reference: Reference) -> None:
        self._repository = repository
        self._endpoint = endpoint
        self._reference = reference

    async def manifest(self, target: str) -> tuple[str, bytes]:
        """(media type, bytes) by tag or digest; the caller verifies a digest."""
        return await self._read(f"manifests/{target}", {"Accept": ", ".join(ACCEPT)})

    async def image(
        self, reference: str, media_type: str, data: bytes, entry: dict[str, Any] | None = None
    ) -> ImageManifest:
        """The platform is what a list's `entry` says, or without one what the config says."""
        config = _object(data).get("config") or {}
        digest = config.get("digest", "")
        _, document = await self._read(f"blobs/{digest}", {})
        if digest_of(document) != digest:
            raise CliError(f"image config verification failed for digest {digest}")
        said = _object(document) if entry is None else entry.get("platform") or {}
        return ImageManifest(reference, media_type, data, platform_of(said))

    async def entry(self, entry: dict[str, Any]) -> ImageManifest:
        digest = entry.get("digest", "")
        media_type, data = await self.manifest(digest)
        if digest_of(data) != digest:
            raise CliError(f"manifest verification failed for digest {digest}")
        if media_type in LISTS:
            # What Go calls that type; a list within a list is beyond docker's client.
            raise CliError("unsupported manifest type: *manifestlist.DeserializedManifestList")
        bare = f"{self._reference}".partition("@")[0]
        return await self.image(f"{bare}@{digest}", media_type, data, entry)

    async def _read(self, path: str, headers: dict[str, str]) -> tuple[str, bytes]:
        """(media type, bytes) of what is below the repository."""
        repository, endpoint = self._repository, self._endpoint
        url = f"/v2/{repository.path}/{path}"
        try:
            async with repository.access.request(
                "GET", url, endpoint=endpoint, headers=headers
            ) as response:
                data = bytearray()
                async for piece in response.content.iter_any():
                    data += piece
                    if len(data) > MAX_DOCUMENT:
                        raise CliError(f"{url}: an answer of more than {MAX_DOCUMENT} bytes")
                return response.content_type, bytes(data)
        except NoCredentials as error:
            raise CliError(f'Get "{endpoint.url}{url}": {error}') from None
        except Unreachable as error:
            raise CliError(str(error)) from None
        except Refused as error:
            raise self._refusal(error) from None
        except NaruError as error:
            raise CliError(f'Get "{endpoint.url}{url}": {error}') from None

    def _refusal(self, error: Refused) -> CliError:
        if error.by_realm:
            return CliError(f'Get "{error.url}": {error.text}')
        if error.status >= 500:
            from http import HTTPStatus

            phrase = HTTPStatus(error.status).phrase if error.status in set(HTTPStatus) else ""
            return CliError(f"received unexpected HTTP status: {error.status} {phrase}".rstrip())
        if error.code in _NOT_HERE:
            return _missing(self._reference)
        if len(error.errors) > 1:
            told = [f"{code.lower().replace('_', ' ')}: {text}\n" for code, text in error.errors]
            return CliError("errors:\n" + "".join(told))
        return CliError(error.text)


def _missing(reference: Reference) -> CliError:
    return CliError(f"no such manifest: {reference}")


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = loads(data)
    except ValueError as error:
        raise CliError(str(error)) from None
    if not isinstance(found, dict):
        raise CliError("invalid manifest or config: not a JSON object")
    return found
