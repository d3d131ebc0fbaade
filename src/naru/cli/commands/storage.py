"""`naru storage migrate|inspect|bench`: storage drivers, changed, seen and compared."""

from __future__ import annotations

import os
import sys

from naru.cli.client import percent, query
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.progress import progress_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

MIGRATE_FLAGS = """
--abandon = Give up an interrupted migration, and remove what it has carried
--stop = Stop running containers meanwhile, and start them again
--storage-opt list = Option of the driver to migrate to
--to string = Storage driver to migrate to
"""
INSPECT_FLAGS = """
--format string:text = 'text' or 'json'
--path list = Say from which layer a path comes
--svg string = Write a picture to a file ('-' is standard output)
"""
BENCH_FLAGS = """
--drivers strings = Compare these only
--format string:text = 'text' or 'json'
--quick = Few rounds: seconds, for a first look
--size bytes = Size of the large file (256 MiB; with --quick 32 MiB)
--svg string = Write the plot to a file ('-' is standard output)
"""


def migrate(context: Context, values: Values, arguments: list[str]) -> None:
    if values["abandon"]:
        if values["to"] or values["stop"] or values["storage-opt"]:
            raise CliError("--abandon goes with no other option")
        context.client.delete("/naru/storage/migrate")
        return
    if not values["to"]:
        raise CliError("--to: the storage driver to migrate to is missing")
    response = context.client.call(
        "POST",
        "/naru/storage/migrate",
        {"To": values["to"], "StorageOpts": values["storage-opt"], "Stop": values["stop"]},
    )
    progress_to(sys.stdout).show(response.lines())


def inspect(context: Context, values: Values, arguments: list[str]) -> None:
    form = values["format"]
    if form not in ("text", "json"):
        raise CliError(f"--format: expected 'text' or 'json', got '{form}'")
    where = f"/naru/storage/inspect/{percent(arguments[0], '/:@')}"
    if values["svg"]:
        if values["path"]:
            raise CliError("--path and --svg do not go together")
        _write(values["svg"], context.client.call("GET", where + query(format="svg")).body())
        return
    asked = query(format=form, path=values["path"], width=_columns())
    sys.stdout.flush()
    _write("-", context.client.call("GET", where + asked).body())


def bench(context: Context, values: Values, arguments: list[str]) -> None:
    form = values["format"]
    if form not in ("text", "json"):
        raise CliError(f"--format: expected 'text' or 'json', got '{form}'")
    response = context.client.call(
        "POST",
        "/naru/storage/bench",
        {"Drivers": values["drivers"], "Size": values["size"], "Quick": values["quick"]},
    )
    result: dict[str, Any] = {}
    progress_to(sys.stderr).show(response.lines(), result.update)
    if values["svg"]:
        _write(values["svg"], result["Svg"].encode())
    if form == "json":
        from naru.cli.jsontext import dumps

        print(dumps(result["Figures"]))
    elif values["svg"] != "-":
        print(result["Text"], end="")


def _columns() -> int | None:
    """The width of the terminal, if it is one."""
    from naru.cli.terminal import size

    return size(1)[1] or None if sys.stdout.isatty() else None


def _write(path: str, data: bytes) -> None:
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)


COMMANDS = {
    "storage migrate": lambda path: (
        Parser(path, f"{path} --to DRIVER [OPTIONS]", MIGRATE_FLAGS, most=0,
               about="Carry all images and containers over to another storage driver"),
        migrate,
    ),
    "storage inspect": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER|IMAGE|LAYER", INSPECT_FLAGS, least=1, most=1,
               about="Draw the layers, and say which a file comes from"),
        inspect,
    ),
    "storage bench": lambda path: (
        Parser(path, f"{path} [OPTIONS]", BENCH_FLAGS, most=0,
               about="Compare the storage drivers that this machine can run"),
        bench,
    ),
}  # fmt: skip
