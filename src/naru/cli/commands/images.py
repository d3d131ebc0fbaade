"""`naru images`."""

from __future__ import annotations

import time

from naru.cli.client import query
from naru.cli.failures import CliError
from naru.cli.filters import filters
from naru.cli.flags import Parser
from naru.cli.output import listing
from naru.cli.times import go_time
from naru.cli.units import human_size, human_size4, short_id
from naru.spec.durations import in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-a --all = Show intermediate images too
--digests = Show digests
-f --filter filter = Filter output by conditions
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
--no-trunc = Don't truncate output
-q --quiet = Only show image IDs
--tree = List multi-platform images as a tree
"""
HEADERS = {
    "ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST",
    "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
    "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}  # fmt: skip

_TREE_SINCE = (1, 47)
"""The API version that tells of an image's manifests."""
_NOT_IN_TREE = {
    "quiet": "quiet", "no-trunc": "no-trunc", "digests": "show-digest", "format": "format",
}  # fmt: skip
"""Flags that have no meaning for a tree, as docker's errors call them."""


def names_of(item: dict[str, Any], *, digests: bool) -> list[tuple[str, str, str]]:
    """(repository, tag, digest) lines of one image."""
    tags: dict[str, list[str]] = {}
    for text in item.get("RepoTags") or []:
        if text != "<none>:<none>":
            name, _, tag = text.rpartition(":")
            tags.setdefault(name, []).append(tag)
    marks: dict[str, list[str]] = {}
    for text in item.get("RepoDigests") or []:
        if text != "<none>@<none>":
            name, _, digest = text.partition("@")
            marks.setdefault(name, []).append(digest)
    lines: list[tuple[str, str, str]] = []
    for name in tags:
        for tag in tags[name]:
            if not digests:
                lines.append((name, tag, "<none>"))
                continue
            lines += [(name, tag, digest) for digest in marks.get(name) or ["<none>"]]
    for name, found in marks.items():
        if name not in tags:
            shown = found if digests else found[:1]
            lines += [(name, "<none>", digest if digests else "<none>") for digest in shown]
    return lines or [("<none>", "<none>", "<none>")]


def rows_of(
    items: list[dict[str, Any]], now: float, *, full: bool, digests: bool
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for item in items:
        for repository, tag, digest in names_of(item, digests=digests):
            shared, size = item.get("SharedSize", -1), item["Size"]
            created = item["Created"]
            rows.append(
                {
                    "ID": item["Id"] if full else short_id(item["Id"]),
                    "Repository": repository,
                    "Tag": tag,
                    "Digest": digest,
                    "CreatedSince": (in_words(now - created) + " ago" if created > 0 else "N/A"),
                    "CreatedAt": go_time(created) if created > 0 else "N/A",
                    "Size": human_size(size),
                    "VirtualSize": human_size4(size),
                    "Containers": "N/A"
                    if item.get("Containers", -1) < 0
                    else str(item["Containers"]),
                    "SharedSize": "N/A" if shared < 0 else human_size(shared),
                    "UniqueSize": "N/A" if shared < 0 else human_size(size - shared),
                }
            )
    return rows


def run(context: Context, values: Values, arguments: list[str]) -> None:
    if values["tree"]:
        spoken = context.client.negotiate()
        if tuple(map(int, spoken.split("."))) < _TREE_SINCE:
            since = "{}.{}".format(*_TREE_SINCE)
            raise CliError(
                f'"--tree" requires API version {since},'
                f" but the Naru daemon API version is {spoken}"
            )
        for name, said in _NOT_IN_TREE.items():
            if values[name]:
                raise CliError(f"--{said} is not yet supported with --tree")
    wanted = filters(values["filter"])
    if arguments:
        wanted.setdefault("reference", {})[arguments[0]] = True
    items = context.client.get(
        "/images/json" + query(all=values["all"], filters=wanted, manifests=values["tree"] or None)
    )
    items.sort(key=lambda item: -item["Created"])
    if values["tree"]:
        from naru.cli.commands.image_tree import tree

        print(tree(items, untagged=values["all"]), end="")
        return
    full, form = values["no-trunc"], values["format"]
    digests = values["digests"] or "Digest" in form
    rows = rows_of(items, time.time(), full=full, digests=digests)
    if values["quiet"] and not form:
        for made in rows:
            print(made["ID"])
        return
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size"]
    if digests and form in ("", "table"):
        columns.insert(2, "Digest")
    print(listing(rows, HEADERS, columns, form, kind="formatter.imageContext"), end="")


COMMANDS = {
    "image ls": lambda path: (
        Parser(path, f"{path} [OPTIONS] [REPOSITORY[:TAG]]", FLAGS, most=1, about="List images"),
        run,
    )
}
