"""`naru container|image|volume|network|system prune`."""

from __future__ import annotations

import sys

from naru.cli.client import query
from naru.cli.failures import CliError
from naru.cli.filters import filters
from naru.cli.flags import Parser
from naru.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

_ALL = "-a --all = Remove all unused ones\n"
_FLAGS = """
--filter filter = Only what matches (until=TIME, label=KEY)
-f --force = Do not ask
"""


def _confirmed(values: Values, warning: str) -> bool:
    if values["force"]:
        return True
    sys.stdout.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"


def _asked(values: Values, **more: dict[str, bool]) -> str:
    wanted = filters(values["filter"])
    for name, value in more.items():
        wanted.setdefault(name, {}).update(value)
    return query(filters=wanted)


def _containers(context: Context, values: Values) -> tuple[str, int]:
    answer = context.client.post("/containers/prune" + _asked(values))
    return _section("Deleted Containers:", answer.get("ContainersDeleted")), answer[
        "SpaceReclaimed"
    ]


def _networks(context: Context, values: Values) -> tuple[str, int]:
    answer = context.client.post("/networks/prune" + _asked(values))
    return _section("Deleted Networks:", answer.get("NetworksDeleted")), 0


def _volumes(context: Context, values: Values, *, every: bool) -> tuple[str, int]:
    more = {"all": {"true": True}} if every else {}
    answer = context.client.post("/volumes/prune" + _asked(values, **more))
    return _section("Deleted Volumes:", answer.get("VolumesDeleted")), answer["SpaceReclaimed"]


def _images(context: Context, values: Values, *, every: bool) -> tuple[str, int]:
    dangling = {"false" if every else "true": True}
    answer = context.client.post("/images/prune" + _asked(values, dangling=dangling))
    lines = [
        f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}"
        for item in answer.get("ImagesDeleted") or []
    ]
    return _section("Deleted Images:", lines), answer["SpaceReclaimed"]


def _section(title: str, lines: list[Any] | None) -> str:
    return "\n".join([title, *lines, "", ""]) if lines else ""


def containers(context: Context, values: Values, arguments: list[str]) -> None:
    if _confirmed(values, "This will remove all stopped containers."):
        _report(*_containers(context, values))


def images(context: Context, values: Values, arguments: list[str]) -> None:
    what = (
        "This will remove all images without at least one container associated to them."
        if values["all"]
        else "This will remove all dangling images."
    )
    if _confirmed(values, what):
        _report(*_images(context, values, every=values["all"]))


def volumes(context: Context, values: Values, arguments: list[str]) -> None:
    kind = "all local volumes" if values["all"] else "anonymous local volumes"
    if _confirmed(values, f"This will remove {kind} not used by at least one container."):
        _report(*_volumes(context, values, every=values["all"]))


def networks(context: Context, values: Values, arguments: list[str]) -> None:
    what = "This will remove all custom networks not used by at least one container."
    if _confirmed(values, what):
        print(_networks(context, values)[0], end="")


def _report(text: str, space: int) -> None:
    print(text, end="")
    print(f"Total reclaimed space: {human_size(space)}")


def system(context: Context, values: Values, arguments: list[str]) -> None:
    if values["volumes"] and any(name == "until" for name, _ in values["filter"]):
        raise CliError('The "until" filter is not supported with "--volumes"')
    items = [
        "all stopped containers",
        "all networks not used by at least one container",
        *(
            ["all anonymous volumes not used by at least one container"]
            if values["volumes"]
            else []
        ),
        "all images without at least one container associated to them"
        if values["all"]
        else "all dangling images",
    ]
    body = "This will remove:\n" + "".join(f"  - {item}\n" for item in items)
    if values["filter"]:
        body += "\n  Items to be pruned will be filtered with:\n"
        body += "".join(f"  - {name}={value}\n" for name, value in values["filter"])
    if not _confirmed(values, body):
        return
    space = 0
    steps: list[Callable[[], tuple[str, int]]] = [
        lambda: _containers(context, values),
        lambda: _networks(context, values),
        *([lambda: _volumes(context, values, every=False)] if values["volumes"] else []),
        lambda: _images(context, values, every=values["all"]),
    ]
    for step in steps:
        text, freed = step()
        print(text, end="", flush=True)
        space += freed
    print(f"Total reclaimed space: {human_size(space)}")


def _kind(
    run: Callable[[Context, Values, list[str]], None], about: str, more: str = ""
) -> Callable[[str], tuple[Parser, Callable[..., None]]]:
    return lambda path: (
        Parser(path, f"{path} [OPTIONS]", more + _FLAGS.strip(), most=0, about=about),
        run,
    )


COMMANDS = {
    "container prune": _kind(containers, "Remove all stopped containers"),
    "image prune": _kind(images, "Remove unused images", _ALL),
    "volume prune": _kind(volumes, "Remove unused local volumes", _ALL),
    "network prune": _kind(networks, "Remove all unused networks"),
    "system prune": _kind(
        system, "Remove unused data", _ALL + "--volumes = Remove anonymous volumes too\n"
    ),
}
