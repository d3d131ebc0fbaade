"""narud with a wiring that only answers pings: the daemon's own conduct, without an engine.

python wired.py narud|dockerd [FLAGS]
"""

from __future__ import annotations

import sys
import types

from naru.api.messages import Answer, Request, Response
from naru.api.router import RouteTable
from naru.daemon.config import Config
from naru.daemon.main import run
from naru.daemon.options import DOCKERD, NARUD
from naru.daemon.prelude import Prelude
from naru.spec.errors import InvalidParameter


class App:
    def __init__(self, config: Config, begun: Prelude) -> None:
        self._config = config
        self._begun = begun
        if config.storage_driver == "broken":
            raise InvalidParameter("driver not supported: broken")
        self.router = RouteTable()
        self.router.add("GET", "/_ping", self.ping)
        self.router.add("HEAD", "/_ping", self.ping)

    async def ping(self, request: Request) -> Answer:
        return Response(b"OK")

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        await self._begun.abandon(self._config.exec_root)

    async def reload(self, config: Config) -> None:
        pass


if __name__ == "__main__":
    wiring = types.ModuleType("naru.daemon.wiring")
    wiring.build = App  # type: ignore[attr-defined]
    sys.modules["naru.daemon.wiring"] = wiring
    sys.exit(run({"narud": NARUD, "dockerd": DOCKERD}[sys.argv[1]], sys.argv[2:]))
