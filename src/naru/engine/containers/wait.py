"""`POST /containers/{id}/wait`: answered even when the container removes itself meanwhile."""

from __future__ import annotations

import asyncio

from naru.engine.containers.containers import Containers
from naru.engine.containers.live import Ended
from naru.spec.containers import Status
from naru.spec.errors import InvalidParameter


class Wait:
    def __init__(self, *, containers: Containers) -> None:
        self._containers = containers

    def begin(self, ref: str, condition: str = "") -> asyncio.Future[Ended]:
        """Registered when this returns: an exit after that is never missed."""
        record = self._containers.find(ref)
        live = self._containers.live(record)
        match condition or "not-running":
            case "not-running":
                # Between two attempts of the restart policy docker still calls it running.
                if record.running or record.state.status is Status.RESTARTING:
                    return live.next_exit()
                done: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
                done.set_result(Ended(record.state.exit_code))
                return done
            case "next-exit":
                return live.next_exit()
            case "removed":
                return live.removal()
            case _:
                raise InvalidParameter(f'invalid condition: "{condition}"')
