"""`naru search`: images of the registry's index."""

from __future__ import annotations

from naru.cli import reference
from naru.cli.client import query
from naru.cli.commands.transfer import registry_header
from naru.cli.filters import filters, shorten
from naru.cli.flags import Parser
from naru.cli.output import listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-f --filter filter = Filter output by conditions
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
--limit int = Number of results
--no-trunc = Don't truncate output
"""
HEADERS = {
    "Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL",
}  # fmt: skip


def run(context: Context, values: Values, arguments: list[str]) -> None:
    term = arguments[0]
    first = term.partition("/")[0]
    registry = first if "." in first or ":" in first else reference.DEFAULT_REGISTRY
    items = context.client.call(
        "GET",
        "/images/search"
        + query(term=term, limit=values["limit"] or None, filters=filters(values["filter"])),
        headers=registry_header(context, registry),
    ).json()
    as_json = "json" in values["format"]
    told = ("true", "false") if as_json else ("[OK]", "")
    rows: list[dict[str, object]] = []
    for item in items or []:
        description = item["description"].replace("\n", " ").replace("\r", " ")
        rows.append(
            {
                "Name": item["name"],
                "Description": description if values["no-trunc"] else shorten(description, 45),
                "StarCount": str(item["star_count"]),
                "IsOfficial": told[0] if item["is_official"] else told[1],
            }
        )
    columns = ["Name", "Description", "StarCount", "IsOfficial"]
    print(listing(rows, HEADERS, columns, values["format"], kind="registry.searchContext"), end="")


COMMANDS = {
    "search": lambda path: (
        Parser(path, f"{path} [OPTIONS] TERM", FLAGS, least=1, most=1,
               about="Search the registry for images"),
        run,
    )
}  # fmt: skip
