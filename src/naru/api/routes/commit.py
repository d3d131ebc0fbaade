"""`/commit` of the Engine API."""

from __future__ import annotations

from naru.api.messages import Request, Response, Router
from naru.engine.images.commit import Committer
from naru.spec import jsonread
from naru.spec.containers import ContainerConfig
from naru.spec.errors import InvalidParameter
from naru.spec.reference import from_repo_tag


class CommitRoutes:
    def __init__(self, *, committer: Committer) -> None:
        self._committer = committer

    def register(self, router: Router) -> None:
        router.add("POST", "/commit", self.commit)

    async def commit(self, request: Request) -> Response:
        query = request.query
        name = None
        if query.text("repo"):
            name = from_repo_tag(query.text("repo"), query.text("tag"))
            if name.digest:
                raise InvalidParameter("cannot commit to digest reference")
        body = (await request.body()).strip()
        # The CLI sends `null`, old clients an empty object: both mean the container's own.
        config = None
        if body not in (b"", b"null", b"{}"):
            config = jsonread.decode(body, ContainerConfig)
        image = await self._committer.commit(
            query.text("container"),
            name=name,
            config=config,
            changes=query.texts("changes"),
            author=query.text("author"),
            comment=query.text("comment"),
            pause=query.flag("pause", default=True),
        )
        return Response({"Id": image.id}, status=201)
