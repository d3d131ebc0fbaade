"""`naru pull` and `naru push`."""

from __future__ import annotations

import sys

from naru.cli import reference
from naru.cli.client import percent, query
from naru.cli.credentials import Config, header
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.progress import progress_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from naru.cli.flags import Values
    from naru.cli.main import Context

PULL_FLAGS = """
-a --all-tags = Download all tagged images of the repository
--disable-content-trust bool:true = Skip image verification
--platform string = Platform of the image
-q --quiet = Suppress verbose output
"""
PUSH_FLAGS = """
-a --all-tags = Push all tags of the image
--disable-content-trust bool:true = Skip image signing
--platform string = Push the manifest of one platform
-q --quiet = Suppress verbose output
"""


def registry_header(context: Context, registry: str) -> dict[str, str]:
    """X-Registry-Auth for a registry, from config.json."""
    credentials = Config(context.config_dir).credentials(registry)
    return {"X-Registry-Auth": header(credentials)}


def pull_image(
    context: Context, image: str, *, platform: str = "", out: TextIO | None, all_tags: bool = False
) -> None:
    """Pulls, showing progress on `out`; raises what the daemon reports."""
    registry, repository, version = reference.split(image)
    response = context.client.call(
        "POST",
        "/images/create"
        + query(
            fromImage=f"{registry}/{repository}",
            tag="" if all_tags else version or "latest",
            platform=platform.lower(),
        ),
        headers=registry_header(context, registry),
    )
    if out is None:
        import io

        progress_to(io.StringIO()).show(response.lines())
    else:
        progress_to(out).show(response.lines())


def pull(context: Context, values: Values, arguments: list[str]) -> None:
    (image,) = arguments
    _, _, version = reference.split(image)
    quiet = values["quiet"]
    if values["all-tags"] and version:
        raise CliError("tag can't be used with --all-tags/-a")
    if not values["all-tags"] and not version and not quiet:
        print("Using default tag: latest", flush=True)
    pull_image(
        context,
        image,
        platform=values["platform"],
        out=None if quiet else sys.stdout,
        all_tags=values["all-tags"],
    )
    print(reference.full(image) if not values["all-tags"] else "/".join(reference.split(image)[:2]))


def push(context: Context, values: Values, arguments: list[str]) -> None:
    (image,) = arguments
    registry, repository, version = reference.split(image)
    if values["all-tags"] and version:
        raise CliError("tag can't be used with --all-tags/-a")
    if not values["all-tags"] and not version:
        version = "latest"
        if not values["quiet"]:
            print("Using default tag: latest", flush=True)
    name = (
        repository.removeprefix("library/")
        if registry == reference.DEFAULT_REGISTRY
        else (f"{registry}/{repository}")
    )
    platform: Any = None
    if values["platform"]:
        parts = values["platform"].split("/")
        platform = {"os": parts[0], "architecture": parts[1] if len(parts) > 1 else ""}
        if len(parts) > 2:
            platform["variant"] = parts[2]
    response = context.client.call(
        "POST",
        f"/images/{percent(name, '/:')}/push" + query(tag=version, platform=platform),
        headers=registry_header(context, registry),
    )
    notes: list[str] = []
    progress = progress_to(sys.stdout)

    def aux(value: dict[str, Any]) -> None:
        if value.get("originalIndex"):
            notes.append("Info: only one platform of a multi-platform image was pushed")

    if values["quiet"]:
        import io

        progress_to(io.StringIO()).show(response.lines())
        print(f"{registry}/{repository}:{version}" if version else f"{registry}/{repository}")
        return
    progress.show(response.lines(), aux)
    for note in notes:
        context.warn(note)


COMMANDS = {
    "image pull": lambda path: (
        Parser(path, f"{path} [OPTIONS] NAME[:TAG|@DIGEST]", PULL_FLAGS, least=1, most=1,
               about="Download an image from a registry"),
        pull,
    ),
    "image push": lambda path: (
        Parser(path, f"{path} [OPTIONS] NAME[:TAG]", PUSH_FLAGS, least=1, most=1,
               about="Upload an image to a registry"),
        push,
    ),
}  # fmt: skip
