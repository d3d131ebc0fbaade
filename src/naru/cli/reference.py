"""Image references as the client has to take them apart, and what a registry is called."""

from __future__ import annotations

from naru.cli.failures import CliError

DEFAULT_REGISTRY = "docker.io"
AUTH_KEY = "https://index.docker.io/v1/"
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/")


def split(text: str) -> tuple[str, str, str]:
    """(registry, repository, tag or digest): `busybox` -> ("docker.io", "library/busybox", "")."""
    name, _, digest = text.partition("@")
    tag = ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = first, rest
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if repository != repository.lower():
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        raise CliError(
            f"invalid reference format: repository name ({repository}) must be lowercase"
        )
    if (
        not repository
        or set(repository) - _NAME
        or repository[0] in "._-/"
        or repository[-1] == "/"
    ):
        raise CliError("invalid reference format")
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository, digest or tag


def familiar(text: str) -> str:
    """The short form with its tag: `docker.io/library/busybox` -> `busybox:latest`."""
    registry, repository, version = split(text)
    if registry == DEFAULT_REGISTRY:
        name = repository.removeprefix("library/")
    else:
        name = f"{registry}/{repository}"
    separator = "@" if ":" in version else ":"
    return f"{name}{separator}{version or 'latest'}"


def full(text: str) -> str:
    """The long form, as pull prints it last: `docker.io/library/busybox:latest`."""
    registry, repository, version = split(text)
    return f"{registry}/{repository}{'@' if ':' in version else ':'}{version or 'latest'}"


def name_and_tag(text: str) -> tuple[str, str]:
    """`repo:tag` -> (repo, tag); the tag is empty when there is none."""
    if not text:
        return "", ""
    split(text)
    if "@" in text:
        raise CliError("refusing to create a tag with a digest reference")
    if ":" in text.rpartition("/")[2]:
        name, _, tag = text.rpartition(":")
        return name, tag
    return text, ""
