"""What is done to containers one by one: stop, restart, kill, pause, unpause, rename, rm, wait."""

from __future__ import annotations

import sys

from naru.cli.client import percent, query
from naru.cli.failures import ApiError, CannotConnect, CliError, Quit
from naru.cli.flags import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from naru.cli.flags import Values
    from naru.cli.main import Context


def each(names: Iterable[str], act: Callable[[str], str | None]) -> None:
    """Runs `act` on every name and prints what it returns; failures come last, with status 1."""
    failures: list[str] = []
    for name in names:
        try:
            shown = act(name)
        except CannotConnect:
            raise
        except CliError as error:
            failures.append(error.message)
        else:
            print(name if shown is None else shown, flush=True)
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise Quit(1)


def at(name: str, tail: str = "") -> str:
    return f"/containers/{percent(name, '/').strip('/')}{tail}"


def _present(name: str) -> str:
    if not name.strip():
        raise CliError("Container name cannot be empty")
    return name


def stop(context: Context, values: Values, names: list[str]) -> None:
    asked = query(
        t=str(values["timeout"]) if "timeout" in values.given else None, signal=values["signal"]
    )
    each(names, lambda name: context.client.post(at(name, "/stop") + asked) and None)


def restart(context: Context, values: Values, names: list[str]) -> None:
    asked = query(
        t=str(values["timeout"]) if "timeout" in values.given else None, signal=values["signal"]
    )
    each(names, lambda name: context.client.post(at(name, "/restart") + asked) and None)


def kill(context: Context, values: Values, names: list[str]) -> None:
    asked = query(signal=values["signal"])
    each(names, lambda name: context.client.post(at(name, "/kill") + asked) and None)


def pause(context: Context, values: Values, names: list[str]) -> None:
    each(names, lambda name: context.client.post(at(name, "/pause")) and None)


def unpause(context: Context, values: Values, names: list[str]) -> None:
    each(names, lambda name: context.client.post(at(name, "/unpause")) and None)


def rename(context: Context, values: Values, names: list[str]) -> None:
    old, new = (name.strip() for name in names)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        context.client.post(at(old, "/rename") + query(name=new))
    except ApiError as error:
        raise CliError(f"{error.message}\nError: failed to rename container named {old}") from None


def remove(context: Context, values: Values, names: list[str]) -> None:
    asked = query(force=values["force"], v=values["volumes"], link=values["link"])

    def act(name: str) -> None:
        _present(name)
        try:
            context.client.delete(at(name) + asked)
        except CliError as error:
            if values["force"] and getattr(error, "code", 0) == 404:
                error.message = f"Error response from daemon: No such container: {name.strip('/')}"
            raise

    each(names, act)


def wait(context: Context, values: Values, names: list[str]) -> None:
    def act(name: str) -> str:
        return str(context.client.post(at(name, "/wait"))["StatusCode"])

    each(names, act)


_STOP = """
-s --signal string = Signal to send to the container
-t --timeout int = Seconds to wait before killing the container

"""
_KILL = "-s --signal string = Signal to send to the container"
_RM = """
-f --force = Kill a running container first
-l --link = Remove the link
-v --volumes = Remove anonymous volumes of the container
"""
_MANY = "CONTAINER [CONTAINER...]"


def _many(
    run: Callable[[Context, Values, list[str]], None], flags: str, about: str
) -> Callable[[str], tuple[Parser, Callable[[Context, Values, list[str]], None]]]:
    options = "[OPTIONS] " if flags else ""
    return lambda path: (
        Parser(path, f"{path} {options}{_MANY}", flags, least=1, about=about),
        run,
    )


COMMANDS = {
    "container stop": _many(stop, _STOP, "Stop one or more running containers"),
    "container restart": _many(restart, _STOP, "Restart one or more containers"),
    "container kill": _many(kill, _KILL, "Kill one or more running containers"),
    "container pause": _many(pause, "", "Pause all processes of one or more containers"),
    "container unpause": _many(unpause, "", "Unpause all processes of one or more containers"),
    "container rm": _many(remove, _RM, "Remove one or more containers"),
    "container wait": _many(wait, "", "Block until containers stop, then print their exit codes"),
    "container rename": lambda path: (
        Parser(path, f"{path} CONTAINER NEW_NAME", "", least=2, most=2, about="Rename a container"),
        rename,
    ),
}
