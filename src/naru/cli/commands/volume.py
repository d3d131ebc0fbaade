"""`naru volume create|ls|rm`."""

from __future__ import annotations

from naru.cli.client import percent, query
from naru.cli.commands.verbs import each
from naru.cli.failures import ApiError, CliError
from naru.cli.filters import filters, labels_text
from naru.cli.flags import Parser
from naru.cli.options.variables import key_values
from naru.cli.output import listing
from naru.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

CREATE_FLAGS = """
-d --driver string:local = Volume driver
--label list = Set a label
--name string = Name of the volume
-o --opt map = Set an option of the driver
"""
LS_FLAGS = """
--cluster = Only cluster volumes (not supported)
-f --filter filter = Filter output by conditions
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
-q --quiet = Only display volume names
"""
HEADERS = {
    "Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE", "Availability": "AVAILABILITY",
    "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip


def row(item: dict[str, Any]) -> dict[str, object]:
    usage = item.get("UsageData") or {}
    labels = item.get("Labels") or {}
    return {
        "Name": item["Name"],
        "Driver": item["Driver"],
        "Scope": item.get("Scope", ""),
        "Mountpoint": item.get("Mountpoint", ""),
        "Labels": labels_text(labels),
        "Links": str(usage["RefCount"]) if usage else "N/A",
        "Size": human_size(usage["Size"]) if usage and usage["Size"] >= 0 else "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    }


def create(context: Context, values: Values, arguments: list[str]) -> None:
    name = arguments[0] if arguments else values["name"]
    if arguments and values["name"]:
        raise CliError(
            "conflicting options: cannot specify a volume-name through both --name and as a "
            "positional arg"
        )
    answer = context.client.post(
        "/volumes/create",
        {
            "Driver": values["driver"],
            "DriverOpts": key_values(values["opt"]),
            "Labels": key_values(values["label"]),
            "Name": name,
        },
    )
    print(answer["Name"])


def ls(context: Context, values: Values, arguments: list[str]) -> None:
    if values["cluster"]:
        raise CliError("--cluster is not supported by this version of naru")
    answer = context.client.get("/volumes" + query(filters=filters(values["filter"])))
    items = sorted(answer.get("Volumes") or [], key=lambda item: str(item["Name"]))
    if values["quiet"] and not values["format"]:
        for item in items:
            print(item["Name"])
        return
    rows = [row(item) for item in items]
    if values["format"] not in ("", "table", "json"):
        for made, item in zip(rows, items, strict=True):
            made["Label"] = (item.get("Labels") or {}).get
    columns, kind = ["Driver", "Name"], "formatter.volumeContext"
    print(listing(rows, HEADERS, columns, values["format"], kind=kind), end="")


def remove(context: Context, values: Values, names: list[str]) -> None:
    force = values["force"]

    def act(name: str) -> None:
        try:
            context.client.delete(f"/volumes/{percent(name)}" + query(force=force))
        except ApiError as error:
            if not (force and error.code == 404):
                raise

    each(names, act)


COMMANDS = {
    "volume create": lambda path: (
        Parser(path, f"{path} [OPTIONS] [VOLUME]", CREATE_FLAGS, most=1, about="Create a volume"),
        create,
    ),
    "volume ls": lambda path: (
        Parser(path, f"{path} [OPTIONS]", LS_FLAGS, most=0, about="List volumes"),
        ls,
    ),
    "volume rm": lambda path: (
        Parser(path, f"{path} [OPTIONS] VOLUME [VOLUME...]", "-f --force = Ignore missing volumes",
               least=1, about="Remove one or more volumes"),
        remove,
    ),
}  # fmt: skip
