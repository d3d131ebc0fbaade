"""`naru version`."""

from __future__ import annotations

import os
import sys
import time

from naru.cli.client import NEWEST
from naru.cli.failures import CliError, Quit
from naru.cli.flags import Parser
from naru.cli.jsontext import dumps
from naru.cli.times import parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context


def _built(text: str) -> str:
    try:
        seconds, _ = parse_rfc3339(text)
    except ValueError:
        return text
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(seconds))


def _machine() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def client_part(spoken: str | None) -> dict[str, Any]:
    from naru.cli.main import VERSION

    newest = "{}.{}".format(*NEWEST)
    return {
        "Version": VERSION,
        "ApiVersion": spoken or newest,
        "DefaultAPIVersion": newest,
        "PythonVersion": sys.version.partition(" ")[0],
        "Os": "linux",
        "Arch": _machine(),
    }


def _text(client: dict[str, Any], server: dict[str, Any] | None) -> str:
    api = client["ApiVersion"]
    if api != client["DefaultAPIVersion"]:
        api += f" (downgraded from {client['DefaultAPIVersion']})"
    lines = [
        "Client:",
        f" Version:           {client['Version']}",
        f" API version:       {api}",
        f" Python version:    {client['PythonVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
    ]
    if server is None:
        return "\n".join(lines)
    platform = (server.get("Platform") or {}).get("Name", "")
    lines += ["", f"Server: {platform}".rstrip()]
    for part in server.get("Components") or []:
        lines.append(f" {part['Name']}:")
        lines.append(f"  {'Version:':<17} {part['Version']}")
        details = part.get("Details") or {}
        if part["Name"] == "Engine":
            lines.append(
                f"  {'API version:':<17} {details.get('ApiVersion')} "
                f"(minimum version {details.get('MinAPIVersion')})"
            )
            built_with = details.get("GoVersion") or ""
            if built_with.startswith("go"):
                lines.append(f"  {'Go version:':<17} {built_with}")
            elif built_with:
                # the API has one field for it, whatever the daemon is written in
                lines.append(f"  {'Python version:':<17} {built_with}")
            if details.get("GitCommit"):
                lines.append(f"  {'Git commit:':<17} {details['GitCommit']}")
            if details.get("BuildTime"):
                lines.append(f"  {'Built:':<17} {_built(details['BuildTime'])}")
            lines.append(f"  {'OS/Arch:':<17} {details.get('Os')}/{details.get('Arch')}")
            lines.append(f"  {'Experimental:':<17} {details.get('Experimental')}")
        else:
            for key in sorted(details):
                lines.append(f"  {key + ':':<17} {details[key]}")
    return "\n".join(lines)


def run(context: Context, values: Values, arguments: list[str]) -> None:
    failure: CliError | None = None
    server: dict[str, Any] | None = None
    client = context.client
    try:
        server = client.get("/version")
    except CliError as error:
        failure = error
    both = {"Client": client_part(client.version), "Server": server}
    form = values["format"]
    if form == "json":
        print(dumps(both))
    elif form:
        from naru.cli.templates import Template

        print(Template(form).run(both, root="*types.Version"))
    else:
        print(_text(both["Client"], server))  # type: ignore[arg-type]
    if failure is not None:
        sys.stdout.flush()
        print(failure.message, file=sys.stderr)
        raise Quit(1)


COMMANDS = {
    "version": lambda path: (
        Parser(path, f"{path} [OPTIONS]", "-f --format string = 'json' or a Go template", most=0,
               about="Show the version of client and daemon"),
        run,
    )
}  # fmt: skip
