"""The functions of a template: Docker's, and of Go's own those that Docker documents."""

from __future__ import annotations

from naru.cli.jsontext import dumps, quote
from naru.cli.template_values import Row, TemplateError, show, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


def call(name: str, arguments: Sequence[Any]) -> Any:
    """Call one of `FUNCTIONS`; what it refuses is a `TemplateError`."""
    try:
        return FUNCTIONS[name](*arguments)
    except (TypeError, AttributeError, IndexError, ValueError) as error:
        raise TemplateError(
            f'template: :1: executing "" at <{name}>: error calling {name}: {error}'
        ) from None


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise ValueError("index of untyped nil")
        if isinstance(value, dict):
            value = value.get(key)
        else:
            if not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = value[key]
    return value


def _printf(format_: str, *arguments: Any) -> str:
    out, rest = "", list(arguments)
    at = 0
    while at < len(format_):
        if format_[at] != "%":
            out += format_[at]
            at += 1
            continue
        end = at + 1
        while end < len(format_) and format_[end] in "-+ #0123456789.":
            end += 1
        verb = format_[end : end + 1]
        spec = format_[at + 1 : end]
        at = end + 1
        if verb == "%":
            out += "%"
        elif not rest:
            out += f"%!{verb}(MISSING)"
        else:
            value = rest.pop(0)
            if verb in "sv":
                out += f"%{spec}s" % show(value)
            elif verb == "q":
                out += f"%{spec}s" % quote(show(value))
            elif verb in "dxXofegt":
                out += show(value) if verb == "t" else f"%{spec}{verb}" % value
            else:
                out += f"%!{verb}({type_name(value)}={show(value)})"
    return out


def _and(*values: Any) -> Any:
    for value in values:
        if not value:
            return value
    return values[-1]


def _or(*values: Any) -> Any:
    for value in values:
        if value:
            return value
    return values[-1]


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _json(value: Any) -> str:
    return dumps(value, html=isinstance(value, Row), sort=isinstance(value, Row))


def _slice(value: Any, start: int = 0, end: int | None = None) -> Any:
    return value[start:end]


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": _json,
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "title": lambda text: text.title(),
    "join": lambda items, separator: separator.join(items or []),
    "split": lambda text, separator: text.split(separator),
    "pad": _pad,
    "truncate": _truncate,
    "index": _index,
    "slice": _slice,
    "len": lambda value: len(value or ()),
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "print": lambda *values: "".join(show(value) for value in values),
    "printf": _printf,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda one, two: one != two,
    "lt": lambda one, two: one < two,
    "le": lambda one, two: one <= two,
    "gt": lambda one, two: one > two,
    "ge": lambda one, two: one >= two,
    "and": _and,
    "or": _or,
    "not": lambda value: not value,
    "urlquery": lambda text: __import__("urllib.parse").parse.quote_plus(text),
}
