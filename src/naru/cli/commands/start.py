"""`naru start`: stopped containers again, attached or not."""

from __future__ import annotations

import sys

from naru.cli import session
from naru.cli.client import query
from naru.cli.commands.verbs import at
from naru.cli.failures import ApiError, CliError, Quit
from naru.cli.flags import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-a --attach = Attach STDOUT and STDERR and forward signals
--checkpoint string = Restore from a checkpoint
--checkpoint-dir string = Where checkpoints are kept
--detach-keys string = Keys that detach from the container
-i --interactive = Attach STDIN
"""


def run(context: Context, values: Values, names: list[str]) -> int:
    for flag in ("checkpoint", "checkpoint-dir"):
        if values[flag]:
            raise CliError(f"--{flag} is not supported by this version of naru")
    if values["attach"] or values["interactive"]:
        if len(names) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _attached(context, values, names[0])
    failed = []
    for name in names:
        try:
            context.client.post(at(name, "/start"))
        except ApiError as error:
            print(error.message, file=sys.stderr)
            failed.append(name)
        else:
            print(name, flush=True)
    if failed:
        print(f"Error: failed to start containers: {', '.join(failed)}", file=sys.stderr)
        raise Quit(1)
    return 0


def _attached(context: Context, values: Values, name: str) -> int:
    client = context.client
    container = client.get(at(name, "/json"))
    identifier = container["Id"]
    tty = container["Config"]["Tty"]
    stdin = values["interactive"] and container["Config"]["OpenStdin"]
    keys = session.detach_keys(
        values["detach-keys"], session.configured_detach_keys(context.config_dir)
    )
    connection = session.attach(
        client, identifier, stdin=stdin, stdout=True, stderr=True, keys=values["detach-keys"]
    )
    removed = container["HostConfig"].get("AutoRemove")
    waiting = session.wait(client, identifier, "removed" if removed else "next-exit")

    def begin() -> None:
        try:
            client.call("POST", f"/containers/{identifier}/start" + query()).body()
        except ApiError:
            connection.close()
            if removed:
                waiting.body()
            raise

    detached = session.interact(
        connection,
        tty=tty,
        stdin=stdin,
        keys=keys,
        resize=session.resizer(client, f"/containers/{identifier}"),
        kill=None if tty else session.killer(client, identifier),
        begin=begin,
    )
    return 0 if detached else session.exit_status(waiting)


COMMANDS = {
    "container start": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER [CONTAINER...]", FLAGS, least=1,
               about="Start one or more stopped containers"),
        run,
    )
}  # fmt: skip
