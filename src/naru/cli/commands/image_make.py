"""Images from other things: `naru tag`, `naru commit`, `naru import`."""

from __future__ import annotations

import os
import sys

from naru.cli import reference
from naru.cli.client import percent, query
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.progress import progress_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from naru.cli.flags import Values
    from naru.cli.main import Context

COMMIT_FLAGS = """
-a --author string = Author
-c --change list = Apply a Dockerfile instruction
-m --message string = Commit message
-p --pause bool:true = Pause the container meanwhile
"""
IMPORT_FLAGS = """
-c --change list = Apply a Dockerfile instruction
-m --message string = Message of the image
--platform string = Platform of the image
"""


def pieces(fd: int) -> Iterator[bytes]:
    """A file's content as it can be read."""
    while data := os.read(fd, 131072):
        yield data


def open_file(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None


def tag(context: Context, values: Values, arguments: list[str]) -> None:
    source, target = arguments
    name, version = reference.name_and_tag(target)
    context.client.post(
        f"/images/{percent(source, '/:@')}/tag" + query(repo=name, tag=version or "latest")
    )


def commit(context: Context, values: Values, arguments: list[str]) -> None:
    name, version = reference.name_and_tag(arguments[1] if len(arguments) > 1 else "")
    asked = query(
        container=arguments[0],
        repo=name,
        tag=version,
        author=values["author"],
        comment=values["message"],
        changes=values["change"],
        pause=None if values["pause"] else "0",
    )
    print(context.client.post("/commit" + asked)["Id"])


def import_(context: Context, values: Values, arguments: list[str]) -> None:
    source, *target = arguments
    name, version = reference.name_and_tag(target[0] if target else "")
    asked = query(
        fromSrc=source if source.startswith(("http://", "https://", "ftp://")) else "-",
        repo=name,
        tag=version,
        message=values["message"],
        changes=values["change"],
        platform=values["platform"].lower(),
    )
    stream = None
    if source == "-":
        stream = pieces(0)
    elif "://" not in source:
        stream = pieces(open_file(source))
    response = context.client.call(
        "POST", "/images/create" + asked, stream=stream, headers={"Content-Type": "text/plain"}
    )
    progress_to(sys.stdout).show(response.lines())


COMMANDS = {
    "image tag": lambda path: (
        Parser(path, f"{path} SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "", least=2, most=2,
               about="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
        tag,
    ),
    "container commit": lambda path: (
        Parser(path, f"{path} [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", COMMIT_FLAGS, least=1,
               most=2, about="Create a new image from a container's changes"),
        commit,
    ),
    "image import": lambda path: (
        Parser(path, f"{path} [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", IMPORT_FLAGS, least=1,
               about="Import the contents of a tarball as a file system image"),
        import_,
    ),
}  # fmt: skip
