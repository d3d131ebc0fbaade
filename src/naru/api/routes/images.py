"""`/images` of the Engine API: what is here, names, removal."""

from __future__ import annotations

from naru.api import versions
from naru.api.messages import Request, Response, Router, Version
from naru.engine.images.library import Library
from naru.engine.images.listing import Listing
from naru.engine.images.removal import Removal
from naru.engine.images.statements import statements
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter, NotFound
from naru.spec.oci import Platform, parse_platform
from naru.spec.reference import from_repo_tag

_IDENTITY_LISTED_SINCE: Version = (1, 54)
_ATTESTATIONS_SINCE: Version = (1, 55)


class ImageRoutes:
    def __init__(self, *, library: Library, listing: Listing, removal: Removal) -> None:
        self._library = library
        self._listing = listing
        self._removal = removal

    def register(self, router: Router) -> None:
        router.add("GET", "/images/json", self.list)
        router.add("GET", "/images/{name:.*}/json", self.inspect)
        router.add("GET", "/images/{name:.*}/history", self.history)
        router.add("GET", "/images/{name:.*}/attestations", self.attestations)
        router.add("POST", "/images/{name:.*}/tag", self.tag)
        router.add("POST", "/images/prune", self.prune)
        router.add("DELETE", "/images/{name:.*}", self.remove)

    async def list(self, request: Request) -> Response:
        query = request.query
        filters = query.filters()
        if (old := query.text("filter")) and request.version < (1, 41):
            filters.setdefault("reference", []).append(old)
        manifests = query.flag("manifests")
        identity = request.version >= _IDENTITY_LISTED_SINCE and query.flag("identity")
        if identity and not manifests:
            raise InvalidParameter("conflicting options: identity requires manifests=1")
        shown = self._listing.images(
            all=query.flag("all"),
            filters=filters,
            shared_size=query.flag("shared-size"),
            manifests=manifests,
            identity=identity,
        )
        if request.version >= (1, 44):
            for item in shown:
                item.pop("VirtualSize", None)
        return Response(versions.shape_all(request.version, "image.list", shown))

    async def inspect(self, request: Request) -> Response:
        shown = self._listing.inspect(
            request.params["name"],
            manifests=request.query.flag("manifests"),
            platform=platform_of_query(request),
        )
        if request.version >= (1, 44):
            shown.pop("VirtualSize", None)
            if shown["Created"].startswith("0001-"):
                del shown["Created"]  # "omitted otherwise", since 1.44
        if request.version >= (1, 45):
            shown.pop("Container", None)
            shown.pop("ContainerConfig", None)
        return Response(versions.shape(request.version, "image.inspect", shown))

    async def history(self, request: Request) -> Response:
        platform = platform_of_query(request)
        return Response(self._listing.history(request.params["name"], platform=platform))

    async def attestations(self, request: Request) -> Response:
        if request.version < _ATTESTATIONS_SINCE:
            raise NotFound("page not found")
        query = request.query
        if len(query.texts("platform")) > 1:
            raise InvalidParameter("only one platform value is currently supported")
        found = await statements(
            self._library,
            request.params["name"],
            platform=platform_of_query(request),
            types=[text for each in query.texts("type") if (text := each.strip())],
            bodies=query.flag("statement"),
        )
        return Response(found)

    async def tag(self, request: Request) -> Response:
        repository = request.query.text("repo")
        if not repository:
            raise InvalidParameter("invalid reference format")
        name = from_repo_tag(repository, request.query.text("tag"))
        await self._library.tag(request.params["name"], name)
        return Response(status=201)

    async def remove(self, request: Request) -> Response:
        query = request.query
        if not request.params["name"].strip():
            raise InvalidParameter("image name cannot be blank")
        told = await self._removal.remove(
            request.params["name"],
            force=query.flag("force"),
            prune=not query.flag("noprune"),
            platforms=[read_platform(text) for text in query.texts("platforms")],
        )
        return Response(told)

    async def prune(self, request: Request) -> Response:
        return Response(await self._removal.prune(request.query.filters()))


def platform_of_query(request: Request) -> Platform | None:
    text = request.query.text("platform")
    return read_platform(text) if text else None


def read_platform(text: str) -> Platform:
    """A JSON object, as the API has it since 1.48, or os/arch/variant."""
    if not text.startswith("{"):
        return parse_platform(text)
    given = jsonread.decode(text.encode(), Platform)
    return parse_platform(str(given)) if given.os and given.architecture else given
