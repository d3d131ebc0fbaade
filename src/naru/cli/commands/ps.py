"""`naru ps`: containers as a list."""

from __future__ import annotations

import time

from naru.cli.client import query
from naru.cli.failures import CliError
from naru.cli.filters import filters, labels_text, shorten
from naru.cli.flags import Parser
from naru.cli.output import listing
from naru.cli.times import go_time
from naru.cli.units import human_size, short_id
from naru.spec.durations import in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-a --all = Show all containers (default shows just running)
-f --filter filter = Filter output by conditions
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
-n --last int:-1 = Show the last created containers, whatever their state
-l --latest = Show the latest created container, whatever its state
--no-trunc = Don't truncate output
-q --quiet = Only display container IDs
-s --size = Display total file sizes
"""
HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Status": "STATUS", "State": "STATE", "Ports": "PORTS",
    "Names": "NAMES", "Size": "SIZE", "Labels": "LABELS", "Mounts": "MOUNTS",
    "Networks": "NETWORKS", "LocalVolumes": "LOCAL VOLUMES", "Platform": "PLATFORM",
}  # fmt: skip
COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]


def ports_text(ports: list[dict[str, Any]] | None) -> str:
    """`0.0.0.0:80->80/tcp, 443/tcp`, consecutive ports joined to ranges."""

    def order(port: dict[str, Any]) -> tuple[Any, ...]:
        return (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"])

    groups: dict[str, tuple[int, int]] = {}
    shown: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports or [], key=order):
        current = port["PrivatePort"]
        key = port["Type"]
        address = port.get("IP", "")
        if address:
            public = port.get("PublicPort", 0)
            joined = f"[{address}]:{public}" if ":" in address else f"{address}:{public}"
            if public != current:
                mapped.append(f"{joined}->{current}/{port['Type']}")
                continue
            key = f"{address}/{key}"
        first, last = groups.get(key, (current, current))
        if key not in groups or current in (last, last + 1):
            groups[key] = (first, current)
            continue
        shown.append(_range(key, first, last))
        groups[key] = (current, current)
    shown += [_range(key, *groups[key]) for key in groups]
    return ", ".join(shown + mapped)


def _range(key: str, first: int, last: int) -> str:
    address, _, kind = key.rpartition("/")
    span = str(first) if first == last else f"{first}-{last}"
    if address:
        address = f"[{address}]" if ":" in address else address
        span = f"{address}:{span}->{span}"
    return f"{span}/{kind}"


def row(item: dict[str, Any], now: float, *, full: bool) -> dict[str, object]:
    """A container of GET /containers/json as its fields are shown."""
    names = [name.removeprefix("/") for name in item.get("Names") or []]
    image = item["Image"] or "<no image>"
    command = item["Command"]
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in item.get("Mounts") or []]
    if not full:
        names = [name for name in names if "/" not in name]
        command = shorten(command, 20)
        mounts = [shorten(mount, 15) for mount in mounts]
        if short_id(item.get("ImageID", "")) == short_id(image):
            image = short_id(image)
        elif "@" in image and ":" in image.partition("@")[0].rpartition("/")[2]:
            image = image.partition("@")[0]
    size = human_size(item.get("SizeRw") or 0)
    if item.get("SizeRootFs"):
        size += f" (virtual {human_size(item['SizeRootFs'])})"
    labels = item.get("Labels") or {}
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "ID": item["Id"] if full else short_id(item["Id"]),
        "Image": image,
        "Command": '"' + command.replace("\\", "\\\\").replace('"', '\\"') + '"',
        "CreatedAt": go_time(item["Created"]),
        "RunningFor": in_words(now - item["Created"]) + " ago",
        "Status": item["Status"],
        "State": item.get("State", ""),
        "Ports": ports_text(item.get("Ports")),
        "Names": ",".join(names),
        "Size": size,
        "Labels": labels_text(labels),
        "Mounts": ",".join(mounts),
        "Networks": ",".join(sorted(networks)),
        "Platform": (item.get("ImageManifestDescriptor") or {}).get("platform"),
        "LocalVolumes": str(
            sum(1 for mount in item.get("Mounts") or [] if mount.get("Driver") == "local")
        ),
    }


def run(context: Context, values: Values, arguments: list[str]) -> None:
    latest = values["latest"] or values["last"] > -1
    limit = 1 if values["latest"] and values["last"] < 0 else values["last"]
    form = values["format"]
    size = values["size"] or ".Size" in form
    items = context.client.get(
        "/containers/json"
        + query(
            all=values["all"] or latest,
            limit=limit if limit > -1 else None,
            size=size,
            filters=filters(values["filter"]),
        )
    )
    full = values["no-trunc"]
    if values["quiet"] and not form:
        for item in items:
            print(item["Id"] if full else short_id(item["Id"]))
        return
    now = time.time()
    rows = [row(item, now, full=full) for item in items]
    if form not in ("", "table", "json"):
        for made, item in zip(rows, items, strict=True):
            made["Label"] = _label(item.get("Labels") or {})
    columns = [*COLUMNS, "Size"] if values["size"] else COLUMNS
    try:
        text = listing(rows, HEADERS, columns, form, kind="formatter.ContainerContext")
    except CliError as error:
        # Docker's ps tries the template before it asks for containers, with words of its own.
        doing = "execute" if "executing" in error.message else "parse"
        error.message = error.message.replace(
            "template parsing error:", f"failed to {doing} template:", 1
        )
        raise
    print(text, end="")


def _label(labels: dict[str, str]) -> Any:
    return lambda name: labels.get(name, "")


COMMANDS = {
    "container ls": lambda path: (
        Parser(path, f"{path} [OPTIONS]", FLAGS, most=0, about="List containers"),
        run,
    )
}
