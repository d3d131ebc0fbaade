"""`naru rmi`."""

from __future__ import annotations

import sys

from naru.cli.client import percent, query
from naru.cli.failures import ApiError, CliError, Quit
from naru.cli.flags import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-f --force = Force removal of the image
--no-prune = Do not delete untagged parents
--platform strings = Remove only these platforms (not supported)
"""


def run(context: Context, values: Values, names: list[str]) -> None:
    if values["platform"]:
        raise CliError("--platform is not supported by this version of naru")
    asked = query(force=values["force"], noprune=values["no-prune"])
    failures: list[str] = []
    fatal = False
    for name in names:
        try:
            done = context.client.delete(f"/images/{percent(name, '/:@')}{asked}")
        except ApiError as error:
            fatal = fatal or error.code != 404
            failures.append(error.message)
            continue
        for item in done or []:
            if item.get("Deleted"):
                print(f"Deleted: {item['Deleted']}")
            else:
                print(f"Untagged: {item['Untagged']}")
    if failures:
        sys.stdout.flush()
        print("\n".join(failures), file=sys.stderr)
        if fatal or not values["force"]:
            raise Quit(1)


COMMANDS = {
    "image rm": lambda path: (
        Parser(path, f"{path} [OPTIONS] IMAGE [IMAGE...]", FLAGS, least=1,
               about="Remove one or more images"),
        run,
    )
}  # fmt: skip
