"""`naru update`."""

from __future__ import annotations

from naru.cli.commands.verbs import at
from naru.cli.failures import ApiError, CliError, Quit
from naru.cli.flags import Parser
from naru.cli.options import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = f"""{limits.FLAGS}
--restart string = Restart policy
"""


def body(values: Values) -> dict[str, Any]:
    if not values.given:
        raise CliError("you must provide one or more flags when using this command")
    try:
        policy = limits.restart_policy(values["restart"])
    except ValueError as error:
        raise CliError(str(error)) from None
    changed = limits.resources(values)
    if "pids-limit" not in values.given:
        changed["PidsLimit"] = None
    return {**changed, "RestartPolicy": policy}


def run(context: Context, values: Values, names: list[str]) -> None:
    import sys

    asked = body(values)
    failures: list[str] = []
    warnings: list[str] = []
    for name in names:
        try:
            answer = context.client.post(at(name, "/update"), asked)
        except ApiError as error:
            failures.append(error.message)
        else:
            print(name, flush=True)
            warnings += answer.get("Warnings") or []
    for warning in warnings:
        print(warning)
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise Quit(1)


COMMANDS = {
    "container update": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER [CONTAINER...]", FLAGS, least=1,
               about="Update the limits of one or more containers"),
        run,
    )
}  # fmt: skip
