"""`naru exec`: a command in a running container."""

from __future__ import annotations

from naru.cli import session
from naru.cli.commands.verbs import at
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.options.variables import environment, environments, read_lines
from naru.cli.terminal import is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-d --detach = Run the command in the background
--detach-keys string = Keys that detach from the command
-e --env list = Set an environment variable
--env-file list = Read environment variables from a file
-i --interactive = Keep STDIN open
--privileged = Give the command all privileges
-t --tty = Allocate a pseudo-terminal
-u --user string = User name or UID, and group (user[:group])
-w --workdir string = Working directory
"""


def run(context: Context, values: Values, arguments: list[str]) -> int:
    container, *command = arguments
    client = context.client
    tty, detach = values["tty"], values["detach"]
    try:
        lines = read_lines(values["env-file"], what="variable", inherit=True)
    except ValueError as error:
        raise CliError(str(error)) from None
    # the container's own error comes before any about this terminal
    client.get(at(container, "/json"))
    stdin = values["interactive"] and not detach
    if not detach:
        session.check_terminal(attach_stdin=values["interactive"], tty=tty)
    keys_text = values["detach-keys"]
    keys = session.detach_keys(keys_text, session.configured_detach_keys(context.config_dir))
    asked: dict[str, Any] = {
        "User": values["user"],
        "Privileged": values["privileged"],
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStderr": not detach,
        "AttachStdout": not detach,
        "DetachKeys": keys_text,
        "Env": lines + environments(values["env"]),
        "WorkingDir": values["workdir"],
        "Cmd": command,
    }
    if not asked["DetachKeys"]:
        del asked["DetachKeys"]
    if tty and is_terminal(1):
        asked["ConsoleSize"] = list(size(1))
    identifier = client.post(at(container, "/exec"), asked)["Id"]
    start: dict[str, Any] = {"Detach": detach, "Tty": tty}
    if "ConsoleSize" in asked:
        start["ConsoleSize"] = asked["ConsoleSize"]
    if detach:
        client.post(f"/exec/{identifier}/start", start)
        return 0
    connection, _ = client.hijack(f"/exec/{identifier}/start", start)
    detached = session.interact(
        connection,
        tty=tty,
        stdin=stdin,
        keys=keys,
        resize=session.resizer(client, f"/exec/{identifier}"),
        kill=None,
    )
    if detached:
        raise CliError("read escape sequence")
    return int(client.get(f"/exec/{identifier}/json").get("ExitCode") or 0)


COMMANDS = {
    "container exec": lambda path: (
        Parser(
            path,
            f"{path} [OPTIONS] CONTAINER COMMAND [ARG...]",
            FLAGS,
            least=2,
            interspersed=False,
            about="Execute a command in a running container",
            checks={"env": environment},
        ),
        run,
    )
}
