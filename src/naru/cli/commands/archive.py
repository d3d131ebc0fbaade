"""Tar archives out and in: `naru save`, `naru load`, `naru export`."""

from __future__ import annotations

import os
import sys

from naru.cli.client import percent, query
from naru.cli.commands.image_make import open_file, pieces
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.progress import progress_to
from naru.cli.streams import write_all
from naru.cli.terminal import is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.http import Response
    from naru.cli.main import Context

_PLATFORM = "--platform string = Only this platform"
SAVE_FLAGS = f"-o --output string = Write to a file instead of STDOUT\n{_PLATFORM}"
EXPORT_FLAGS = "-o --output string = Write to a file instead of STDOUT"
LOAD_FLAGS = f"""
-i --input string = Read from a tar file instead of STDIN
{_PLATFORM}
-q --quiet = Suppress the load output
"""


def _platform(text: str) -> str | None:
    if not text:
        return None
    from naru.cli.jsontext import dumps

    os_, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    made = {"architecture": architecture, "os": os_}
    if variant:
        made["variant"] = variant
    return dumps(made)


def _check_output(path: str) -> None:
    if not path:
        if is_terminal(1):
            raise CliError("cowardly refusing to write to a terminal: use -o or redirect")
        return
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise CliError(f'invalid output path: directory "{folder}" does not exist')


def _write(response: Response, path: str) -> None:
    """To the file, which appears under its name when it is complete; or to stdout."""
    if not path:
        for data in response.chunks():
            write_all(1, data)
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb", buffering=0) as file:
            for data in response.chunks():
                write_all(file.fileno(), data)
        return
    part = os.path.join(os.path.dirname(path), f".tmp-{os.path.basename(path)}{os.getpid()}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for data in response.chunks():
                file.write(data)
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise


def save(context: Context, values: Values, names: list[str]) -> None:
    _check_output(values["output"])
    asked = query(names=names, platform=_platform(values["platform"]))
    _write(context.client.call("GET", "/images/get" + asked), values["output"])


def export(context: Context, values: Values, arguments: list[str]) -> None:
    _check_output(values["output"])
    path = f"/containers/{percent(arguments[0])}/export"
    _write(context.client.call("GET", path), values["output"])


def load(context: Context, values: Values, arguments: list[str]) -> None:
    if values["input"]:
        fd = open_file(values["input"])
    elif is_terminal(0):
        raise CliError("requested load from stdin, but stdin is empty")
    else:
        fd = 0
    quiet = values["quiet"] or not is_terminal(1)
    response = context.client.call(
        "POST",
        "/images/load" + query(quiet="1" if quiet else "0", platform=_platform(values["platform"])),
        stream=pieces(fd),
        headers={"Content-Type": "application/x-tar"},
    )
    progress_to(sys.stdout).show(response.lines())


COMMANDS = {
    "image save": lambda path: (
        Parser(path, f"{path} [OPTIONS] IMAGE [IMAGE...]", SAVE_FLAGS, least=1,
               about="Save images to a tar archive (streamed to STDOUT by default)"),
        save,
    ),
    "image load": lambda path: (
        Parser(path, f"{path} [OPTIONS]", LOAD_FLAGS, most=0,
               about="Load images from a tar archive or STDIN"),
        load,
    ),
    "container export": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER", EXPORT_FLAGS, least=1, most=1,
               about="Export a container's file system as a tar archive"),
        export,
    ),
}  # fmt: skip
