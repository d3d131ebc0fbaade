"""`naru inspect` and its forms for one kind: low-level information as JSON or by a template."""

from __future__ import annotations

import sys

from naru.cli.client import percent, query
from naru.cli.failures import ApiError, CannotConnect, CliError, Quit
from naru.cli.flags import Parser
from naru.cli.jsontext import indent, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from naru.cli.client import Client
    from naru.cli.flags import Values
    from naru.cli.main import Context

_FORMAT = "-f --format string = 'json' or a Go template"
ANY_FLAGS = f"""
{_FORMAT}
-s --size = Display total file sizes of a container
--type string = Only inspect objects of this kind
"""
_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
_REFUSED = ("node", "service", "task", "plugin", "secret", "config")


def fetch(
    client: Client, kind: str, name: str, *, size: bool = False, verbose: bool = False
) -> bytes:
    """The object's JSON as the daemon sent it."""
    path = _PATHS[kind].format(percent(name, "/:@"))
    return client.call("GET", path + query(size=size, verbose=verbose)).body().strip()


def _find(client: Client, name: str, *, size: bool) -> bytes:
    for kind in _PATHS:
        try:
            return fetch(client, kind, name, size=size and kind == "container")
        except ApiError as error:
            if error.code != 404:
                raise
    raise CliError(f"Error: No such object: {name}")


def show(names: list[str], form: str, get: Callable[[str], bytes]) -> None:
    """Prints what was found, then what was not, as Docker does: `[]` when nothing was."""
    found: list[bytes] = []
    failures: list[str] = []
    template = None
    if form not in ("", "json"):
        from naru.cli.templates import Template

        template = Template(form)
    out: list[str] = []
    for name in names:
        try:
            body = get(name)
        except CannotConnect:
            raise
        except CliError as error:
            failures.append(error.message)
            continue
        found.append(body)
        if template is not None:
            from naru.cli.template_values import TemplateError

            try:
                out.append(template.run(loads(body), root="map") + "\n")
            except TemplateError as error:
                failures.append(f"template parsing error: {error.message}")
    if template is not None:
        print("".join(out) or "\n", end="")
    elif form == "json":
        print("[" + ",".join(body.decode() for body in found) + "]")
    else:
        text = "[" + ",".join(body.decode() for body in found) + "]"
        print(indent(text) if found else "[]")
    if failures:
        sys.stdout.flush()
        print("\n".join(failures), file=sys.stderr)
        raise Quit(1)


def inspect_any(context: Context, values: Values, names: list[str]) -> None:
    kind, size = values["type"], values["size"]
    client = context.client
    if kind == "":
        show(names, values["format"], lambda name: _find(client, name, size=size))
        return
    if kind in _REFUSED:
        raise CliError(f"naru has no objects of type {kind}")
    if kind not in _PATHS:
        known = ", ".join(f'"{name}"' for name in sorted((*_PATHS, *_REFUSED)))
        raise CliError(f'unknown type: "{kind}": must be one of {known}')
    show(names, values["format"], lambda name: fetch(client, kind, name, size=size))


def inspect_one(context: Context, values: Values, names: list[str]) -> None:
    kind = "container"
    for candidate in _PATHS:
        if f" {candidate} " in context.path:
            kind = candidate
    if values.get("platform"):
        raise CliError("--platform is not supported by this version of naru")
    size, verbose = bool(values.get("size")), bool(values.get("verbose"))
    client = context.client
    show(
        names,
        values["format"],
        lambda name: fetch(client, kind, name, size=size, verbose=verbose),
    )


def _kind(kind: str, more: str = "") -> Callable[[str], tuple[Parser, Callable[..., None]]]:
    upper = kind.upper()
    return lambda path: (
        Parser(
            path,
            f"{path} [OPTIONS] {upper} [{upper}...]",
            f"{_FORMAT}\n{more}",
            least=1,
            about=f"Display detailed information on one or more {kind}s",
        ),
        inspect_one,
    )


COMMANDS = {
    "inspect": lambda path: (
        Parser(
            path,
            f"{path} [OPTIONS] NAME|ID [NAME|ID...]",
            ANY_FLAGS,
            least=1,
            about="Return low-level information on objects",
        ),
        inspect_any,
    ),
    "container inspect": _kind("container", "-s --size = Display total file sizes"),
    "image inspect": _kind("image", "--platform string = Inspect one platform of the image"),
    "network inspect": _kind("network", "-v --verbose = Verbose output for diagnostics"),
    "volume inspect": _kind("volume"),
}
