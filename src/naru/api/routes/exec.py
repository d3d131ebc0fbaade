"""`/exec` and `/containers/{id}/exec` of the Engine API."""

from __future__ import annotations

from msgspec import field

from naru.api.messages import HIJACKED, Answer, Request, Response, Router
from naru.api.routes.rawstream import content_type, screen_size
from naru.engine.containers import multiplex
from naru.engine.containers.exec import Execs
from naru.engine.containers.exec_process import ExecConfig
from naru.spec.api import Api
from naru.spec.errors import NaruError


class _Start(Api, frozen=True):
    """`tty` is what the client thinks; the exec's own `Tty` decides."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] = field(default_factory=list)


class ExecRoutes:
    def __init__(self, *, execs: Execs) -> None:
        self._execs = execs

    def register(self, router: Router) -> None:
        router.add("POST", "/containers/{id}/exec", self.create)
        router.add("POST", "/exec/{id}/start", self.start)
        router.add("POST", "/exec/{id}/resize", self.resize)
        router.add("GET", "/exec/{id}/json", self.inspect)

    async def create(self, request: Request) -> Response:
        config = await request.json(ExecConfig)
        exec_id = await self._execs.create(request.params["id"], config)
        return Response({"Id": exec_id}, status=201)

    async def start(self, request: Request) -> Answer:
        options = await request.json(_Start)
        exec_id = request.params["id"]
        made = self._execs.startable(exec_id)
        size = options.console_size if request.version >= (1, 42) and options.tty else []
        if options.detach:
            await self._execs.start(exec_id, console_size=size)
            return Response(b"", status=200)
        conn = await request.hijack(content_type(request, tty=made.config.tty))
        try:
            await self._execs.start(exec_id, conn, console_size=size)
        except NaruError as error:
            # The answer has begun: the text goes where the output would.
            text = f"{error}\r\n".encode()
            framed = text if made.config.tty else multiplex.frame(multiplex.STDOUT, text)
            await conn.write(framed)
        finally:
            conn.close()
        return HIJACKED

    async def inspect(self, request: Request) -> Response:
        return Response(self._execs.inspect(request.params["id"]))

    async def resize(self, request: Request) -> Response:
        height, width = screen_size(request)
        await self._execs.resize(request.params["id"], height, width)
        return Response(b"", status=200)
