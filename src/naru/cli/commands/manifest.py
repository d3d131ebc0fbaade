"""`naru manifest`: manifests and lists of them, in registries and on their way there.

None of it needs the daemon.
"""

from __future__ import annotations

from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.manifest_store import ManifestStore, missing
from naru.cli.manifests import ImageManifest, list_text, verbose_text
from naru.spec.errors import NaruError
from naru.spec.reference import Reference, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from naru.cli.flags import Values
    from naru.cli.main import Context

INSPECT_FLAGS = """
--insecure = Allow communication with an insecure registry
-v --verbose = Output additional info including layers and platform
"""
CREATE_FLAGS = """
-a --amend = Amend an existing manifest list
--insecure = Allow communication with an insecure registry
"""
ANNOTATE_FLAGS = """
--arch string = Set architecture
--os string = Set operating system
--os-features strings = Set operating system feature
--os-version string = Set operating system version
--variant string = Set architecture variant
"""
PUSH_FLAGS = """
--insecure = Allow push to an insecure registry
-p --purge = Remove the local manifest list after push
"""
_ARCHITECTURES = {
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm",
    "linux": "386 amd64 arm arm64 mips64 mips64le ppc64le riscv64 s390x",
    "netbsd": "386 amd64 arm",
    "openbsd": "386 amd64 arm",
    "plan9": "386 amd64",
    "solaris": "amd64",
    "windows": "386 amd64",
}
"""What docker lets be annotated, by operating system."""


def inspect(context: Context, values: Values, arguments: list[str]) -> None:
    reference = _reference(arguments[-1])
    store = ManifestStore(context.config_dir)
    found: ImageManifest | Sequence[ImageManifest] | None
    if len(arguments) == 2:
        found = store.get(_reference(arguments[0]), reference)
        if found is None:
            raise missing(reference)
    else:
        found = store.images(reference)
        if found is None:
            found = _fetch(context, reference, insecure=values["insecure"])
    if values["verbose"]:
        print(verbose_text(found))
    elif isinstance(found, ImageManifest):
        print(found.text())
    else:
        _check_domains(found, reference)
        print(list_text(found))


def create(context: Context, values: Values, arguments: list[str]) -> None:
    name, *manifests = arguments
    target = _reference(name, f"error parsing name for manifest list {name}: ")
    store = ManifestStore(context.config_dir)
    if store.exists(target) and not values["amend"]:
        raise CliError("refusing to amend an existing manifest list with no --amend flag")
    for text in manifests:
        reference = _reference(text)
        image = store.get(target, reference)
        if image is None:
            fetched = _fetch(context, reference, insecure=values["insecure"])
            if not isinstance(fetched, ImageManifest):
                raise CliError(f"{reference} is a manifest list")
            image = fetched
        store.save(target, reference, image)
    print(f"Created manifest list {target}")


def annotate(context: Context, values: Values, arguments: list[str]) -> None:
    name, text = arguments
    target = _reference(name, f"annotate: error parsing name for manifest list {name}: ")
    reference = _reference(text, f"annotate: error parsing name for manifest {text}: ")
    store = ManifestStore(context.config_dir)
    image = store.get(target, reference)
    if image is None:
        raise CliError(f"manifest for image {text} does not exist in {name}")
    said = {
        "architecture": values["arch"], "os": values["os"], "os.version": values["os-version"],
        "variant": values["variant"],
    }  # fmt: skip
    image.annotate({key: value for key, value in said.items() if value}, values["os-features"])
    if image.platform["architecture"] not in _ARCHITECTURES.get(image.platform["os"], "").split():
        asked = f"{values['os']}/{values['arch']}"
        raise CliError(f"manifest entry for image has unsupported os/arch combination: {asked}")
    store.save(target, reference, image)


def push(context: Context, values: Values, arguments: list[str]) -> None:
    target = _reference(arguments[0])
    store = ManifestStore(context.config_dir)
    images = store.images(target)
    if images is None:
        raise missing(target)
    if not images:
        raise CliError(f"{target} not found")
    for image in images:
        if not image.platform["architecture"] or not image.platform["os"]:
            raise CliError(
                f"manifest {image.reference} must have an OS and Architecture to be pushed to a"
                " registry"
            )
    _check_domains(images, target)
    import asyncio

    from naru.cli.manifest_registry import ManifestRegistry

    async def send() -> None:
        async with ManifestRegistry(
            context.config_dir, target.domain, insecure=values["insecure"]
        ) as registry:
            await registry.push(target, images, print)

    asyncio.run(send())
    if values["purge"]:
        store.remove(target)


def remove(context: Context, values: Values, arguments: list[str]) -> None:
    store = ManifestStore(context.config_dir)
    failures = []
    for name in arguments:
        try:
            target = _reference(name)
            if not store.exists(target):
                raise missing(target)
            store.remove(target)
        except CliError as error:
            failures.append(error.message)
    if failures:
        raise CliError("\n".join(failures))


def _fetch(
    context: Context, reference: Reference, *, insecure: bool
) -> ImageManifest | list[ImageManifest]:
    import asyncio

    from naru.cli.manifest_registry import ManifestRegistry

    async def ask() -> ImageManifest | list[ImageManifest]:
        async with ManifestRegistry(
            context.config_dir, reference.domain, insecure=insecure
        ) as registry:
            return await registry.fetch(reference)

    return asyncio.run(ask())


def _reference(text: str, doing: str = "") -> Reference:
    try:
        return parse(text).tagged()
    except NaruError as error:
        raise CliError(f"{doing}{error}") from None


def _check_domains(images: Sequence[ImageManifest], target: Reference) -> None:
    """A list names what its registry has, and nothing of another one."""
    for image in images:
        domain = parse(image.reference).domain
        if domain != target.domain:
            raise CliError(
                "cannot use source images from a different registry than the target image:"
                f" {domain} != {target.domain}"
            )


COMMANDS = {
    "manifest inspect": lambda path: (
        Parser(path, f"{path} [OPTIONS] [MANIFEST_LIST] MANIFEST", INSPECT_FLAGS, least=1, most=2,
               about="Display an image manifest, or manifest list"),
        inspect,
    ),
    "manifest create": lambda path: (
        Parser(path, f"{path} MANIFEST_LIST MANIFEST [MANIFEST...]", CREATE_FLAGS, least=2,
               about="Create a local manifest list for annotating and pushing to a registry"),
        create,
    ),
    "manifest annotate": lambda path: (
        Parser(path, f"{path} [OPTIONS] MANIFEST_LIST MANIFEST", ANNOTATE_FLAGS, least=2, most=2,
               about="Add additional information to a local image manifest"),
        annotate,
    ),
    "manifest push": lambda path: (
        Parser(path, f"{path} [OPTIONS] MANIFEST_LIST", PUSH_FLAGS, least=1, most=1,
               about="Push a manifest list to a repository"),
        push,
    ),
    "manifest rm": lambda path: (
        Parser(path, f"{path} MANIFEST_LIST [MANIFEST_LIST...]", "", least=1,
               about="Delete one or more manifest lists from local storage"),
        remove,
    ),
}  # fmt: skip
