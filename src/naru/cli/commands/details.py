"""Short looks at one container: `naru top`, `naru port`, `naru diff`."""

from __future__ import annotations

from naru.cli.client import query
from naru.cli.commands.verbs import at
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.output import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

_KINDS = {0: "C", 1: "A", 2: "D"}


def top(context: Context, values: Values, arguments: list[str]) -> None:
    name, *options = arguments
    answer = context.client.get(at(name, "/top") + query(ps_args=" ".join(options)))
    print(table([answer["Titles"], *answer["Processes"]], least=20, gap=3), end="")


def _order(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number), protocol


def port(context: Context, values: Values, arguments: list[str]) -> None:
    name = arguments[0]
    container = context.client.get(at(name, "/json"))
    ports = container["NetworkSettings"].get("Ports") or {}

    def shown(binding: dict[str, str]) -> str:
        address = binding["HostIp"]
        return (
            f"[{address}]:{binding['HostPort']}"
            if ":" in address
            else f"{address}:{binding['HostPort']}"
        )

    if len(arguments) > 1:
        number, slash, protocol = arguments[1].partition("/")
        if not number.isdigit() or (slash and not protocol):
            raise CliError(f"Error: invalid port ({arguments[1]})")
        key = f"{number}/{protocol or 'tcp'}"
        bindings = ports.get(key)
        if not bindings:
            raise CliError(f"Error: No public port '{arguments[1]}' published for {name}")
        for binding in bindings:
            print(shown(binding))
        return
    lines = [
        f"{key} -> {shown(binding)}"
        for key in sorted(ports, key=_order)
        for binding in ports[key] or []
    ]
    for line in lines:
        print(line)


def diff(context: Context, values: Values, arguments: list[str]) -> None:
    for change in context.client.get(at(arguments[0], "/changes")) or []:
        print(f"{_KINDS[change['Kind']]} {change['Path']}")


COMMANDS = {
    "container top": lambda path: (
        Parser(path, f"{path} CONTAINER [ps OPTIONS]", "", least=1, interspersed=False,
               about="Display the running processes of a container"),
        top,
    ),
    "container port": lambda path: (
        Parser(path, f"{path} CONTAINER [PRIVATE_PORT[/PROTO]]", "", least=1, most=2,
               about="List the port mappings of a container"),
        port,
    ),
    "container diff": lambda path: (
        Parser(path, f"{path} CONTAINER", "", least=1, most=1,
               about="Inspect changes to a container's file system"),
        diff,
    ),
}  # fmt: skip
