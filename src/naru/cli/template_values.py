"""JSON values as a Go template sees them: their members, and how they print.

Go's types are not known here; the tables name the fields for which the type shows.
"""

from __future__ import annotations

from naru.cli.failures import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Scope = dict[str, Any]
    """Variables by name ("$", "$x"); "root" is the Go type of "$", or ""."""

_STRUCTS = (
    ("HostIp", "HostPort"),
    ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"),
    ("Name", "MaximumRetryCount"),
)
_NIL_POINTERS = frozenset(
    (
        "PidsLimit",
        "MemorySwappiness",
        "OomKillDisable",
        "Init",
        "Healthcheck",
        "Health",
        "StopTimeout",
        "IPAMConfig",
        "ConfigReference",
    )
)
_NIL_MAPS = frozenset(
    (
        "Labels",
        "Volumes",
        "ExposedPorts",
        "Ports",
        "Options",
        "Sysctls",
        "Tmpfs",
        "DriverOpts",
        "Annotations",
        "StorageOpt",
        "Networks",
        "Containers",
    )
)


class TemplateError(CliError):
    """The template cannot be parsed or run."""


class Row(dict[str, "Any"]):
    """One line of a listing: its fields are all there is, and JSON sorts them."""


def walk(value: Any, path: str, scope: Scope) -> Any:
    """`.A.B` of a value: null for an unknown member, where the value is no Go struct."""
    if not path:
        return value
    for name in path[1:].split("."):
        if isinstance(value, dict):
            if name in value:
                value = value[name]
                if value is None:
                    value = [] if name not in _NIL_POINTERS else None
                    if name in _NIL_MAPS:
                        value = {}
                continue
            if isinstance(value, Row) or scope["root"]:
                kind = scope["root"]
                raise TemplateError(
                    f'template: :1:{2 + path.rindex(".")}: executing "" at <{path}>: '
                    + (
                        f"can't evaluate field {name} in type {kind}"
                        if isinstance(value, Row)
                        or (value is not scope["$"] and kind.startswith("*"))
                        else f'map has no entry for key "{name}"'
                    )
                )
            value = None
        elif value is None:
            raise TemplateError(
                f'template: :1:2: executing "" at <{path}>: '
                f"nil pointer evaluating interface {{}}.{name}"
            )
        else:
            raise TemplateError(
                f'template: :1:2: executing "" at <{path}>: '
                f"can't evaluate field {name} in type {type_name(value)}"
            )
    return value


def type_name(value: Any) -> str:
    """The Go type that a JSON value is decoded into."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) else "interface {}"


def show(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, str):
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "<nil>"
    if isinstance(value, dict):
        for fields in _STRUCTS:
            if value and set(value) <= set(fields) and len(value) >= 2:
                return "{" + " ".join(show(value.get(field, "")) for field in fields) + "}"
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    return str(value)
