"""`naru update`."""

from __future__ import annotations

from naru.cli.commands.create_body import restart_policy
from naru.cli.commands.verbs import at
from naru.cli.failures import ApiError, CliError, Quit
from naru.cli.flags import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
--blkio-weight uint16 = Relative block IO weight, 10 to 1000, 0 for none
--cpu-period int = CFS period in microseconds
--cpu-quota int = CFS quota in microseconds
--cpu-rt-period int = Real-time period in microseconds
--cpu-rt-runtime int = Real-time runtime in microseconds
-c --cpu-shares int = Relative CPU weight
--cpus decimal = Number of CPUs
--cpuset-cpus string = CPUs to run on (0-3, 0,1)
--cpuset-mems string = Memory nodes to use (0-3, 0,1)
-m --memory bytes = Memory limit
--memory-reservation bytes = Soft memory limit
--memory-swap bytes = Limit of memory plus swap, -1 for unlimited swap
--pids-limit int = Limit of processes, -1 for none
--restart string = Restart policy
"""


def body(values: Values) -> dict[str, Any]:
    from naru.cli.commands.create_body import resources

    if not values.given:
        raise CliError("you must provide one or more flags when using this command")
    try:
        policy = restart_policy(values["restart"])
    except ValueError as error:
        raise CliError(str(error)) from None
    limits = resources(values)
    if "pids-limit" not in values.given:
        limits["PidsLimit"] = None
    return {**limits, "RestartPolicy": policy}


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
