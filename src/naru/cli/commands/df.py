"""`naru system df`: what takes disk space, and what could be had back."""

from __future__ import annotations

import time

from naru.cli.commands.images import names_of
from naru.cli.failures import CliError
from naru.cli.filters import shorten
from naru.cli.flags import Parser
from naru.cli.output import listing, table
from naru.cli.units import human_size, human_size4, short_id
from naru.spec.durations import in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-a --all = Show every byte of the data root, by what it is there for
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
-v --verbose = Show each object
"""
HEADERS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}  # fmt: skip


def _share(part: int, whole: int) -> str:
    text = human_size4(part)
    return f"{text} ({part * 100 // whole}%)" if whole > 0 else text


def _row(kind: str, total: int, active: int, size: int, free: str) -> dict[str, object]:
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human_size4(size),
        "Reclaimable": free,
    }


def summary(usage: dict[str, Any]) -> list[dict[str, object]]:
    images = usage.get("Images") or []
    layers = usage.get("LayersSize") or 0
    # What an image in use takes is its size; a layer shared by many of them counts once.
    used = sum(
        image["Size"] if image["SharedSize"] < 0 else image["Size"] - image["SharedSize"]
        for image in images
        if image["Containers"] > 0 and image["Size"] >= 0
    )
    containers = usage.get("Containers") or []
    running = [c for c in containers if c["State"] in ("running", "paused", "restarting")]
    size = sum(c.get("SizeRw") or 0 for c in containers)
    idle = size - sum(c.get("SizeRw") or 0 for c in running)
    volumes = [v for v in usage.get("Volumes") or [] if v.get("UsageData")]
    space = sum(max(v["UsageData"]["Size"], 0) for v in volumes)
    unused = sum(max(v["UsageData"]["Size"], 0) for v in volumes if v["UsageData"]["RefCount"] == 0)
    cache = usage.get("BuildCache") or []
    cached = sum(item["Size"] for item in cache if not item.get("Shared"))
    kept = sum(item["Size"] for item in cache if item["InUse"] and not item.get("Shared"))
    return [
        _row(
            "Images",
            len(images),
            sum(1 for image in images if image["Containers"] > 0),
            layers,
            _share(layers - used, layers),
        ),
        _row("Containers", len(containers), len(running), size, _share(idle, size)),
        _row(
            "Local Volumes",
            len(usage.get("Volumes") or []),
            sum(1 for v in volumes if v["UsageData"]["RefCount"] > 0),
            space,
            _share(unused, space),
        ),
        _row(
            "Build Cache",
            len(cache),
            sum(1 for item in cache if item["InUse"]),
            cached,
            human_size4(cached - kept),
        ),
    ]


def details(usage: dict[str, Any], now: float) -> str:
    """The text of -v."""
    lines = [["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
              "CONTAINERS"]]  # fmt: skip
    for image in usage.get("Images") or []:
        repository, tag, _ = names_of(image, digests=False)[0]
        ago = in_words(now - image["Created"]) + " ago"
        shared = max(image["SharedSize"], 0)
        lines.append(
            [repository, tag, short_id(image["Id"]), ago,
             human_size(image["Size"]), human_size4(shared), human_size4(image["Size"] - shared),
             str(image["Containers"])]
        )  # fmt: skip
    text = "Images space usage:\n\n" + table(lines)
    lines = [["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS",
              "NAMES"]]  # fmt: skip
    for item in usage.get("Containers") or []:
        mounts = sum(1 for mount in item.get("Mounts") or [] if mount.get("Driver") == "local")
        lines.append(
            [short_id(item["Id"]), item["Image"], f'"{shorten(item["Command"], 20)}"', str(mounts),
             human_size(item.get("SizeRw") or 0), in_words(now - item["Created"]) + " ago",
             item["Status"], ",".join(name.removeprefix("/") for name in item["Names"])]
        )  # fmt: skip
    text += "\nContainers space usage:\n\n" + table(lines)
    lines = [["VOLUME NAME", "LINKS", "SIZE"]]
    for volume in usage.get("Volumes") or []:
        data = volume.get("UsageData") or {"RefCount": 0, "Size": 0}
        lines.append([volume["Name"], str(data["RefCount"]), human_size(data["Size"])])
    text += "\nLocal Volumes space usage:\n\n" + table(lines)
    cache = usage.get("BuildCache") or []
    total = sum(item["Size"] for item in cache if not item.get("Shared"))
    lines = [["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"]]
    lines += [
        [short_id(item["ID"]), item["Type"], human_size(item["Size"]), item["CreatedAt"],
         item.get("LastUsedAt") or "", str(item["UsageCount"]),
         "true" if item.get("Shared") else "false"]
        for item in cache
    ]  # fmt: skip
    return text + f"\nBuild cache usage: {human_size(total)}\n\n" + table(lines)


def _everything(usage: dict[str, Any], values: Values) -> None:
    """--all: of ours, not of docker's."""
    if values["format"] == "json":
        from naru.cli.jsontext import dumps

        print(dumps(usage))
        return
    if values["format"] not in ("", "table"):
        raise CliError("--format: with --all it is 'table' or 'json'")
    lines = [["KIND", "COUNT", "SIZE", "BYTES"]]
    lines += [
        [kind["Kind"], str(kind["Count"]), human_size4(kind["Size"]), str(kind["Size"])]
        for kind in usage["Kinds"]
    ]
    lines.append(["total", "", human_size4(usage["Total"]), str(usage["Total"])])
    disk = usage["FileSystem"]
    print(
        f"{usage['DataRoot']} (storage driver {usage['Driver']})\n\n{table(lines)}\n"
        f"Free on its disk: {human_size4(disk['Free'])} of {human_size4(disk['Size'])},"
        f" of which {human_size4(disk['KeptFree'])} stay free of images (min-free-space)"
    )
    if values["verbose"]:
        lines = [["CONTAINER ID", "NAME", "LAYER", "LOG", "FILES"]]
        lines += [
            [short_id(each["Id"]), each["Name"],
             *(human_size4(each[part]) for part in ("Layer", "Log", "Files"))]
            for each in usage["Containers"]
        ]  # fmt: skip
        print("\n" + table(lines), end="")
        lines = [["VOLUME NAME", "SIZE"]]
        lines += [[each["Name"], human_size4(each["Size"])] for each in usage["Volumes"]]
        print("\n" + table(lines), end="")
        lines = [["LAYER", "SIZE", "STORAGE ID"]]
        lines += [
            [each["ChainId"].removeprefix("init:").removeprefix("sha256:")[:12]
             + (" (init)" if each["ChainId"].startswith("init:") else ""),
             human_size4(each["Size"]), each["StorageId"]]
            for each in usage["Layers"]
        ]  # fmt: skip
        print("\n" + table(lines), end="")


def run(context: Context, values: Values, arguments: list[str]) -> None:
    if values["all"]:
        _everything(context.client.get("/naru/system/df"), values)
        return
    usage = context.client.get("/system/df")
    if values["verbose"] and values["format"] in ("", "table"):
        print(details(usage, time.time()), end="")
        return
    print(listing(summary(usage), HEADERS, list(HEADERS), values["format"],
                  kind="formatter.diskUsageContext"), end="")  # fmt: skip


COMMANDS = {
    "system df": lambda path: (
        Parser(path, f"{path} [OPTIONS]", FLAGS, most=0, about="Show disk usage"),
        run,
    )
}
