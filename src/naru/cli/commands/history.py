"""`naru history`: how an image was made."""

from __future__ import annotations

import time

from naru.cli.client import percent
from naru.cli.failures import CliError
from naru.cli.filters import shorten
from naru.cli.flags import Parser
from naru.cli.output import listing
from naru.cli.times import rfc3339_local
from naru.cli.units import human_size, short_id
from naru.spec.durations import in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
-H --human bool:true = Sizes and dates for people
--no-trunc = Don't truncate output
--platform string = Show one platform of the image (not supported)
-q --quiet = Only show image IDs
"""
HEADERS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
}  # fmt: skip


def run(context: Context, values: Values, arguments: list[str]) -> None:
    if values["platform"]:
        raise CliError("--platform is not supported by this version of naru")
    items = context.client.get(f"/images/{percent(arguments[0], '/:@')}/history")
    full, human = values["no-trunc"], values["human"]
    now = time.time()
    rows: list[dict[str, object]] = []
    for item in items:
        created = item["Created"]
        by = item["CreatedBy"].replace("\t", " ")
        at = rfc3339_local(created) if created > 0 else "N/A"
        ago = in_words(now - created) + " ago" if created > 0 else "N/A"
        rows.append(
            {
                "ID": item["Id"] if full else short_id(item["Id"]),
                "CreatedSince": ago if human else at,
                "CreatedAt": at,
                "CreatedBy": by if full else shorten(by, 45),
                "Size": human_size(item["Size"]) if human else str(item["Size"]),
                "Comment": item["Comment"],
            }
        )
    if values["quiet"] and not values["format"]:
        for made in rows:
            print(made["ID"])
        return
    headers = HEADERS if human else {**HEADERS, "CreatedSince": "CREATED AT"}
    columns = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]
    print(listing(rows, headers, columns, values["format"], kind="image.historyContext"), end="")


COMMANDS = {
    "image history": lambda path: (
        Parser(path, f"{path} [OPTIONS] IMAGE", FLAGS, least=1, most=1,
               about="Show the history of an image"),
        run,
    )
}  # fmt: skip
