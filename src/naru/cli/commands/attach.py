"""`naru attach`: this terminal on a running container."""

from __future__ import annotations

from naru.cli import session
from naru.cli.commands.verbs import at
from naru.cli.failures import CliError
from naru.cli.flags import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
--detach-keys string = Keys that detach from the container
--no-stdin = Do not attach STDIN
--sig-proxy bool:true = Pass received signals on to the process
"""


def run(context: Context, values: Values, arguments: list[str]) -> int:
    client = context.client
    container = client.get(at(arguments[0], "/json"))
    state = container["State"]
    if not state["Running"]:
        raise CliError("cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CliError("cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CliError("cannot attach to a restarting container, wait until it is running")
    identifier = container["Id"]
    tty = container["Config"]["Tty"]
    stdin = not values["no-stdin"] and container["Config"]["OpenStdin"]
    session.check_terminal(attach_stdin=not values["no-stdin"], tty=tty)
    keys = session.detach_keys(
        values["detach-keys"], session.configured_detach_keys(context.config_dir)
    )
    waiting = session.wait(client, identifier, "")
    connection = session.attach(
        client, identifier, stdin=stdin, stdout=True, stderr=True, keys=values["detach-keys"]
    )
    detached = session.interact(
        connection,
        tty=tty,
        stdin=stdin,
        keys=keys,
        resize=session.resizer(client, f"/containers/{identifier}"),
        kill=session.killer(client, identifier) if values["sig-proxy"] and not tty else None,
    )
    if detached:
        raise CliError("read escape sequence")
    return session.exit_status(waiting)


COMMANDS = {
    "container attach": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER", FLAGS, least=1, most=1,
               about="Attach this terminal's stdio to a running container"),
        run,
    )
}  # fmt: skip
