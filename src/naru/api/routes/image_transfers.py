"""`/images` of the Engine API: what comes in and goes out - pull, import, load, save, push."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from naru.api import versions
from naru.api.messages import Answer, Request, Router, Stream
from naru.api.old_shapes import Change
from naru.api.routes.images import read_platform
from naru.engine.images.imports import Importer
from naru.engine.images.load import Loader
from naru.engine.images.progress import Message, failure, status
from naru.engine.images.pull import Puller
from naru.engine.images.push import Pusher
from naru.engine.images.save import Saver
from naru.registry.credentials import decode_header
from naru.spec import reference as references
from naru.spec.errors import InvalidParameter, NaruError
from naru.spec.oci import Platform, parse_platform


class ImageTransferRoutes:
    def __init__(
        self, *, puller: Puller, pusher: Pusher, importer: Importer, loader: Loader, saver: Saver
    ) -> None:
        self._puller = puller
        self._pusher = pusher
        self._importer = importer
        self._loader = loader
        self._saver = saver

    def register(self, router: Router) -> None:
        router.add("POST", "/images/create", self.create)
        router.add("POST", "/images/load", self.load)
        router.add("GET", "/images/get", self.save_several)
        router.add("GET", "/images/{name:.*}/get", self.save)
        router.add("POST", "/images/{name:.*}/push", self.push)

    async def create(self, request: Request) -> Answer:
        if request.query.text("fromImage"):
            return self._pull(request)
        if request.query.text("fromSrc"):
            return await self._import(request)
        raise InvalidParameter("fromImage or fromSrc is required")

    def _pull(self, request: Request) -> Stream:
        query = request.query
        name, tag = query.text("fromImage"), query.text("tag")
        given = references.parse(name)
        reference = given
        if tag and not given.digest:
            reference = references.from_repo_tag(given.name, tag)
        platform = _platform(query.text("platform"))
        messages = self._puller.pull(
            reference,
            credentials=decode_header(request.headers.get("x-registry-auth", "")),
            platform=platform,
            all_tags=reference.bare,
        )
        return Stream(_encoded(messages, request))

    async def _import(self, request: Request) -> Stream:
        query = request.query
        source = query.text("fromSrc")
        name = None
        if query.text("repo"):
            name = references.from_repo_tag(query.text("repo"), query.text("tag"))
            if name.digest:
                raise InvalidParameter("cannot import digest reference")
        options = {
            "name": name,
            "changes": query.texts("changes"),
            "message": query.text("message"),
            "platform": _platform(query.text("platform")),
        }

        async def messages() -> AsyncIterator[Message]:
            if source == "-":
                image = await self._importer.import_(request.stream(), **options)  # type: ignore[arg-type]
            else:
                image = await self._importer.import_url(source, **options)
            yield status(image.id)

        return Stream(_encoded(messages(), request))

    async def load(self, request: Request) -> Stream:
        quiet = request.query.flag("quiet")
        platforms = _platforms(request)

        async def messages() -> AsyncIterator[Message]:
            async for message in self._loader.load(request.stream(), platforms=platforms):
                if not quiet or "stream" in message:
                    yield message

        return Stream(_encoded(messages(), request))

    async def save(self, request: Request) -> Stream:
        pieces = self._saver.save([request.params["name"]], platforms=_platforms(request))
        return Stream(pieces, content_type="application/x-tar")

    async def save_several(self, request: Request) -> Stream:
        names = request.query.texts("names")
        if not names:
            raise InvalidParameter("no images given: names is required")
        pieces = self._saver.save(names, platforms=_platforms(request))
        return Stream(pieces, content_type="application/x-tar")

    async def push(self, request: Request) -> Stream:
        reference = references.parse(request.params["name"])
        if tag := request.query.text("tag"):
            reference = reference.with_tag(tag)
        platform = None
        if text := request.query.text("platform"):
            value = read_platform(text)
            platform = value if value.os else None
        messages = self._pusher.push(
            reference,
            credentials=decode_header(request.headers.get("x-registry-auth", "")),
            platform=platform,
        )
        return Stream(_encoded(messages, request))


async def encode_messages(
    messages: AsyncIterator[Message], changes: Sequence[Change] = ()
) -> AsyncIterator[bytes]:
    """One JSON object a line, each changed, of which nothing may be left; an error behind the first
    one is a message too."""
    begun = False
    try:
        async for message in messages:
            begun = True
            for change in changes:
                message = change(message)
            if message:
                yield msgspec.json.encode(message) + b"\r\n"
    except NaruError as error:
        if not begun:
            raise
        yield msgspec.json.encode(failure(str(error))) + b"\r\n"


def _encoded(messages: AsyncIterator[Message], request: Request) -> AsyncIterator[bytes]:
    return encode_messages(messages, versions.changes(request.version, "progress"))


def _platform(text: str) -> Platform | None:
    return parse_platform(text) if text else None


def _platforms(request: Request) -> list[Platform] | None:
    """`platform` of save and load: JSON objects since 1.48, several since 1.52."""
    found = [read_platform(text) for text in request.query.texts("platform") if text]
    return found or None
