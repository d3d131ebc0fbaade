"""`naru system check`: what is not as it should be on the disk, and what became of it."""

from __future__ import annotations

from naru.cli.client import query
from naru.cli.failures import CliError, Quit
from naru.cli.flags import Parser
from naru.cli.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
--format string:text = 'text' or 'json'
--repair = Remove what is orphaned, half done or damaged
--verify = Read every blob, and compare it with its digest
"""


_BEFORE_REMEDY = {"repaired": "done", "found": "to do", "left": "to do by hand"}


def _text(problem: dict[str, Any]) -> str:
    lines = f"{problem['Kind']}: {problem['What']}\n    {problem['Text']}"
    return f"{lines}; {_BEFORE_REMEDY[problem['State']]}: {problem['Remedy']}"


def run(context: Context, values: Values, arguments: list[str]) -> None:
    form, repair = values["format"], values["repair"]
    if form not in ("text", "json"):
        raise CliError(f"--format: expected 'text' or 'json', got '{form}'")
    asked = query(repair="1" if repair else None, verify="1" if values["verify"] else None)
    response = context.client.call("POST", f"/naru/system/check{asked}")
    left: int | None = None
    for line in response.lines():
        message = loads(line)
        if "Error" in message:
            raise CliError(message["Error"])
        left = message.get("Left", left)
        if form == "json":
            print(line.decode().rstrip("\n"), flush=True)
        elif "Kind" in message:
            print(_text(message), flush=True)
        else:
            print(_verdict(message, repair=repair))
    if left is None:
        raise CliError("the daemon ended the check before it was through")
    if left:
        raise Quit(1)


def _verdict(sums: dict[str, Any], *, repair: bool) -> str:
    found, left = sums["Problems"], sums["Left"]
    if not found:
        return "No problems found."
    problems = "1 problem" if found == 1 else f"{found} problems"
    if not repair:
        return f"{problems} found. --repair removes what nobody needs, and what is damaged."
    return f"{problems} found, {found - left} repaired, {left} left."


COMMANDS = {
    "system check": lambda path: (
        Parser(path, f"{path} [OPTIONS]", FLAGS, most=0,
               about="Find what does not belong on the disk, or is missing there"),
        run,
    )
}  # fmt: skip
