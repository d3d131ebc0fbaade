"""`naru cp`: files between a container and this machine."""

from __future__ import annotations

import binascii
import os
import posixpath
import stat
import sys

from naru.cli.client import query
from naru.cli.commands.verbs import at
from naru.cli.failures import ApiError, CliError
from naru.cli.flags import Parser
from naru.cli.jsontext import loads
from naru.cli.terminal import is_terminal
from naru.cli.units import human_size_precise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-a --archive = Archive mode (copy all uid/gid information)
-L --follow-link = Follow a symbol link in SRC_PATH
-q --quiet = Suppress the report
"""
_GO_DIR, _GO_LINK = 1 << 31, 1 << 27


def split(text: str) -> tuple[str, str]:
    """`container:path` -> (container, path); a local path has no container."""
    if os.path.isabs(text):
        return "", text
    container, colon, path = text.partition(":")
    if not colon or container.startswith("."):
        return "", text
    return container, path


def _stat(context: Context, container: str, path: str) -> dict[str, Any]:
    response = context.client.send("HEAD", at(container, "/archive") + query(path=path))
    response.connection.close()
    if response.status >= 400:
        if response.status == 404:
            # HEAD has no body, so ask again for the reason
            context.client.call(
                "GET", at(container, "/archive") + query(path=path)
            ).connection.close()
        raise ApiError(response.status, f"cannot stat {path}")
    return _decode(response.headers)


def _decode(headers: dict[str, str]) -> dict[str, Any]:
    text = headers["x-docker-container-path-stat"]
    made: dict[str, Any] = loads(binascii.a2b_base64(text))
    return made


def _asserts_directory(path: str) -> bool:
    return path.endswith("/") or posixpath.basename(path) in (".", "..")


def _contents_only(path: str) -> bool:
    return posixpath.basename(path) == "."


def _join(link: str, target: str) -> str:
    return target if target.startswith("/") else posixpath.join(posixpath.dirname(link), target)


def copy_from(context: Context, values: Values, container: str, source: str, target: str) -> int:
    """Returns the bytes that came."""
    from naru.cli.tarcopy import StreamFile, unpack

    if values["follow-link"]:
        about = _stat(context, container, source)
        if about["mode"] & _GO_LINK:
            source = _join(source.rstrip("/"), about["linkTarget"])
    asked = source if source.startswith("/") else f"/{source}"
    response = context.client.call("GET", at(container, "/archive") + query(path=asked))
    if target == "-":
        from naru.cli.streams import write_all

        for data in response.chunks():
            write_all(1, data)
        return 0
    about = _decode(response.headers)
    folder = bool(about["mode"] & _GO_DIR)
    base = about["name"]
    if os.path.isdir(target):
        name = "" if folder and _contents_only(source) else base
        root = target
    elif os.path.lexists(target) and folder:
        raise CliError("cannot copy directory")
    else:
        if os.path.lexists(target) and _asserts_directory(target):
            raise CliError("not a directory")
        if not folder and _asserts_directory(target):
            raise CliError("no such directory")
        root, name = os.path.split(os.path.abspath(target))
        if not os.path.isdir(root):
            raise CliError(f"invalid output path: directory {root!r} does not exist")
    stream = StreamFile(response.chunks())
    unpack(stream, root, rename=(base, name), owners=values["archive"])
    return stream.count


def copy_to(context: Context, values: Values, source: str, container: str, target: str) -> int:
    """Returns the bytes that went."""
    asked = target if target.startswith("/") else f"/{target}"
    about: dict[str, Any] | None = None
    try:
        about = _stat(context, container, asked)
        if about["mode"] & _GO_LINK:
            asked = _join(asked.rstrip("/"), about["linkTarget"])
            about = _stat(context, container, asked)
    except ApiError as error:
        # a missing path is where the copy goes; a missing container is an error
        if error.code != 404 or "no such container" in error.reason.lower():
            raise
    folder = bool(about and about["mode"] & _GO_DIR)
    if source == "-":
        from naru.cli.commands.image_make import pieces

        if not folder:
            raise CliError(f'destination "{container}:{target}" must be a directory')
        _put(context, values, container, asked, stream=pieces(0))
        return 0
    if values["follow-link"]:
        source = os.path.realpath(source) + ("/." if _contents_only(source) else "")
    try:
        mode = os.lstat(source.rstrip("/") or "/").st_mode
        if stat.S_ISLNK(mode) and _asserts_directory(source):
            mode = os.stat(source).st_mode
    except OSError as error:
        raise CliError(
            f"lstat {os.path.abspath(source)}: {(error.strerror or '').lower()}"
        ) from None
    from_folder = stat.S_ISDIR(mode)
    if _asserts_directory(source) and not from_folder:
        raise CliError("not a directory")
    if folder:
        root = asked
        name = (
            "."
            if from_folder and _contents_only(source)
            else os.path.basename(os.path.abspath(source))
        )
    elif about is not None:
        if from_folder:
            raise CliError("cannot copy directory")
        if _asserts_directory(target):
            raise CliError("not a directory")
        root, name = posixpath.split(asked.rstrip("/"))
    else:
        if not from_folder and _asserts_directory(target):
            raise CliError("no such directory")
        root, name = posixpath.split(asked.rstrip("/").removesuffix("/."))

    from naru.cli.tarcopy import pack

    sent = 0

    def write(out: BinaryIO) -> None:
        nonlocal sent
        sent = pack(source.rstrip("/") or "/", name, out, owners=values["archive"])

    _put(context, values, container, root or "/", write=write)
    return sent


def _put(context: Context, values: Values, container: str, path: str, **body: Any) -> None:
    """`body`: what `Client.send` takes for one."""
    asked = query(
        path=path,
        noOverwriteDirNonDir="true",
        copyUIDGID=values["archive"],
    )
    context.client.call(
        "PUT",
        at(container, "/archive") + asked,
        headers={"Content-Type": "application/x-tar"},
        **body,
    ).body()


def run(context: Context, values: Values, arguments: list[str]) -> None:
    source, target = arguments
    if not source:
        raise CliError("source can not be empty")
    if not target:
        raise CliError("destination can not be empty")
    from_container, from_path = split(source)
    to_container, to_path = split(target)
    if from_container and to_container:
        raise CliError("copying between containers is not supported")
    if not from_container and not to_container:
        raise CliError("must specify at least one container source")
    if from_container:
        count = copy_from(context, values, from_container, from_path, to_path)
        shown = os.path.abspath(to_path)
    else:
        count = copy_to(context, values, from_path, to_container, to_path)
        shown = f"{to_container}:{to_path}"
    quiet = values["quiet"] if "quiet" in values.given else not is_terminal(2)
    if not quiet and "-" not in (source, target):
        print(f"Successfully copied {human_size_precise(count, 3)} to {shown}", file=sys.stderr)


COMMANDS = {
    "container cp": lambda path: (
        Parser(
            path,
            f"{path} [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tnaru cp [OPTIONS] SRC_PATH|- "
            "CONTAINER:DEST_PATH",
            FLAGS,
            least=2,
            most=2,
            about="Copy files between a container and the local file system",
        ),
        run,
    )
}
