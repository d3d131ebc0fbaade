"""`naru run` and `naru create`."""

from __future__ import annotations

import os
import sys

from naru.cli import session
from naru.cli.client import query
from naru.cli.commands.create_body import FLAGS, body
from naru.cli.failures import ApiError, CannotConnect, CliError
from naru.cli.flags import Parser
from naru.cli.options.checks import CHECKS
from naru.cli.terminal import is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

RUN_FLAGS = (
    FLAGS
    + """\
-d --detach = Run in the background and print the container ID
--detach-keys string = Keys that detach from the container
--sig-proxy bool:true = Pass received signals on to the process
"""
)


def _failed(error: Exception, verb: str, status: int = 125) -> CliError:
    text = error.message if isinstance(error, CliError) else str(error)
    return CliError(f"naru: {text}\n\nRun 'naru {verb} --help' for more information", status)


def start_status(reason: str) -> int:
    """The exit status of a start that failed: 127 not found, 126 not executable, else 125."""
    if any(
        text in reason
        for text in ("executable file not found", "no such file or directory", "system cannot find")
    ):
        return 127
    if "permission denied" in reason or "is a directory" in reason:
        return 126
    return 125


def _create(context: Context, values: Values, image: str, made: dict[str, Any]) -> str:
    from naru.cli import reference

    reference.split(image)
    if values["pull"] not in ("always", "missing", "never", ""):
        raise CliError(
            f'invalid pull option: \'{values["pull"]}\': must be one of "always", "missing" or '
            '"never"'
        )
    if "disable-content-trust" in values.given and not values["disable-content-trust"]:
        raise CliError("--disable-content-trust=false: image verification is not supported")
    cidfile = values["cidfile"]
    if cidfile and os.path.exists(cidfile):
        raise CliError(
            "container ID file found, make sure the other container isn't running or delete "
            + cidfile
        )
    if values["pull"] == "always":
        _pull(context, values, image)
    path = "/containers/create" + query(name=values["name"], platform=values["platform"])
    try:
        answer = context.client.post(path, made)
    except ApiError as error:
        if error.code != 404 or values["pull"] != "missing" or "image" not in error.reason.lower():
            raise
        if not values["quiet"]:
            context.warn(f"Unable to find image '{reference.familiar(image)}' locally")
        _pull(context, values, image)
        answer = context.client.post(path, made)
    for warning in answer.get("Warnings") or []:
        context.warn(f"WARNING: {warning}")
    identifier = str(answer["Id"])
    if cidfile:
        with open(cidfile, "w") as file:
            file.write(identifier)
    return identifier


def _pull(context: Context, values: Values, image: str) -> None:
    from naru.cli.commands.transfer import pull_image

    pull_image(
        context, image, platform=values["platform"], out=None if values["quiet"] else sys.stderr
    )


def create(context: Context, values: Values, arguments: list[str]) -> None:
    image, *command = arguments
    try:
        identifier = _create(context, values, image, body(values, image, command))
    except CannotConnect:
        raise
    except ApiError as error:
        raise CliError(error.message) from None
    except (CliError, ValueError) as error:
        text = error.message if isinstance(error, CliError) else str(error)
        raise (
            _failed(CliError(text), "create") if isinstance(error, ValueError) else error
        ) from None
    print(identifier)


def run(context: Context, values: Values, arguments: list[str]) -> int:
    image, *command = arguments
    try:
        made = body(values, image, command)
    except ValueError as error:
        raise _failed(error, "run") from None
    if values["detach"]:
        if values["attach"]:
            raise CliError("conflicting options: cannot specify both --attach and --detach")
        made |= {"AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
                 "StdinOnce": False}  # fmt: skip
    else:
        session.check_terminal(attach_stdin=made["AttachStdin"], tty=made["Tty"])
    if is_terminal(1):
        made["HostConfig"]["ConsoleSize"] = list(size(1))
    keys_text = values["detach-keys"]
    keys = session.detach_keys(keys_text, session.configured_detach_keys(context.config_dir))
    try:
        identifier = _create(context, values, image, made)
    except CliError as error:
        raise _failed(error, "run") from None
    client = context.client
    if not (made["AttachStdin"] or made["AttachStdout"] or made["AttachStderr"]):
        try:
            client.post(f"/containers/{identifier}/start")
        except ApiError as error:
            raise _failed(error, "run", start_status(error.reason)) from None
        print(identifier)
        return 0
    return _attached(context, values, identifier, made, keys)


def _attached(
    context: Context, values: Values, identifier: str, made: dict[str, Any], keys: Any
) -> int:
    client = context.client
    tty = made["Tty"]
    connection = session.attach(
        client,
        identifier,
        stdin=made["AttachStdin"],
        stdout=made["AttachStdout"],
        stderr=made["AttachStderr"],
        keys=values["detach-keys"],
    )
    removed = made["HostConfig"]["AutoRemove"]
    waiting = session.wait(client, identifier, "removed" if removed else "next-exit")

    def begin() -> None:
        try:
            client.post(f"/containers/{identifier}/start")
        except ApiError as error:
            connection.close()
            if removed:
                waiting.body()
            raise _failed(error, "run", start_status(error.reason)) from None

    detached = session.interact(
        connection,
        tty=tty,
        stdin=made["AttachStdin"],
        keys=keys,
        resize=session.resizer(client, f"/containers/{identifier}"),
        kill=session.killer(client, identifier) if values["sig-proxy"] and not tty else None,
        begin=begin,
        output=made["AttachStdout"] or made["AttachStderr"],
        ended=waiting,
    )
    return 0 if detached else session.exit_status(waiting)


COMMANDS = {
    "container run": lambda path: (
        Parser(
            path,
            f"{path} [OPTIONS] IMAGE [COMMAND] [ARG...]",
            RUN_FLAGS,
            least=1,
            interspersed=False,
            about="Create and run a new container from an image",
            checks=CHECKS,
        ),
        run,
    ),
    "container create": lambda path: (
        Parser(
            path,
            f"{path} [OPTIONS] IMAGE [COMMAND] [ARG...]",
            FLAGS,
            least=1,
            interspersed=False,
            about="Create a new container",
            checks=CHECKS,
        ),
        create,
    ),
}
