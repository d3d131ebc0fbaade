"""`naru events`."""

from __future__ import annotations

import time

from naru.cli.client import query
from naru.cli.failures import CliError
from naru.cli.filters import filters
from naru.cli.flags import Parser
from naru.cli.jsontext import loads
from naru.cli.times import api_timestamp, rfc3339_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-f --filter filter = Filter output by conditions
--format string = 'json' or a Go template
--since string = Show events since a time or an age
--until string = Stop at a time
"""


def line(event: dict[str, Any]) -> str:
    """`TIME TYPE ACTION ID (attributes)`."""
    nano = event.get("timeNano") or event.get("time", 0) * 1_000_000_000
    text = rfc3339_local(nano // 1_000_000_000, nano % 1_000_000_000)
    actor = event.get("Actor") or {}
    text += f" {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    attributes = actor.get("Attributes") or {}
    if attributes:
        shown = ", ".join(f"{name}={value}" for name, value in sorted(attributes.items()))
        text += f" ({shown})"
    return text


def _moment(text: str) -> str | None:
    if not text:
        return None
    try:
        return api_timestamp(text, time.time())
    except ValueError as error:
        raise CliError(str(error)) from None


def run(context: Context, values: Values, arguments: list[str]) -> None:
    template = None
    form = values["format"]
    if form and form != "json":
        from naru.cli.templates import Template

        template = Template(form)
    response = context.client.call(
        "GET",
        "/events"
        + query(
            since=_moment(values["since"]),
            until=_moment(values["until"]),
            filters=filters(values["filter"]),
        ),
    )
    for raw in response.lines():
        if form == "json":
            print(raw.decode().strip(), flush=True)
        elif template is not None:
            event = loads(raw)
            event.setdefault("ID", event.get("id", ""))
            event.setdefault("Status", event.get("status", ""))
            event.setdefault("From", event.get("from", ""))
            event.setdefault("Time", event.get("time", 0))
            event.setdefault("TimeNano", event.get("timeNano", 0))
            print(template.run(event, root="events.Message"), flush=True)
        else:
            print(line(loads(raw)), flush=True)


COMMANDS = {
    "system events": lambda path: (
        Parser(path, f"{path} [OPTIONS]", FLAGS, most=0, about="Get events as they happen"),
        run,
    )
}
