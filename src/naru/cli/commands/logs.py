"""`naru logs`: what a container wrote."""

from __future__ import annotations

import time

from naru.cli.client import query
from naru.cli.commands.verbs import at
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.streams import Demultiplexer, write_all
from naru.cli.times import api_timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
--details = Show extra details given to the log
-f --follow = Follow the output
--since string = Only what came after a time (2013-01-02T13:23:37Z) or an age (42m)
-n --tail string:all = Number of lines from the end
-t --timestamps = Show timestamps
--until string = Only what came before a time or an age
"""


def moment(text: str, flag: str) -> str | None:
    if not text:
        return None
    try:
        return api_timestamp(text, time.time())
    except ValueError as error:
        raise CliError(f'invalid value for "{flag}": {error}') from None


def run(context: Context, values: Values, arguments: list[str]) -> None:
    (name,) = arguments
    container = context.client.get(at(name, "/json"))
    response = context.client.call(
        "GET",
        f"/containers/{container['Id']}/logs"
        + query(
            stdout=True,
            stderr=True,
            follow=values["follow"],
            timestamps=values["timestamps"],
            details=values["details"],
            since=moment(values["since"], "since"),
            until=moment(values["until"], "until"),
            tail=values["tail"],
        ),
    )
    if container["Config"]["Tty"]:
        for data in response.chunks():
            write_all(1, data)
    else:
        demultiplexer = Demultiplexer(write_all)
        for data in response.chunks():
            demultiplexer.feed(data)


COMMANDS = {
    "container logs": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER", FLAGS, least=1, most=1,
               about="Fetch the logs of a container"),
        run,
    )
}  # fmt: skip
