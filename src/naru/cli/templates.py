"""The part of Go's text/template that `--format` is used with, over JSON values.

Actions: fields, variables, pipelines, if/else, range, with, trim markers, comments, and Docker's
functions beside Go's own comparisons. Go's types are not known here, so a value prints as Go
would print what the daemon decodes it from.
"""

from __future__ import annotations

from naru.cli.failures import CliError
from naru.cli.jsontext import dumps, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Scope = dict[str, Any]

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

    kind = "row"


class Template:
    """A parsed template; `strict` makes an unknown member an error as Go's structs do."""

    def __init__(self, text: str) -> None:
        self._tokens = _split(text)
        self._at = 0
        self._body, end = self._parse_list()
        if end:
            raise TemplateError(f"template parsing error: template: :1: unexpected {{{{{end}}}}}")

    def run(self, value: Any, *, root: str = "") -> str:
        out: list[str] = []
        scope: Scope = {"$": value, "root": root}
        for node in self._body:
            node(value, scope, out)
        return "".join(out)

    def _parse_list(self) -> tuple[list[Callable[[Any, Scope, list[str]], None]], str]:
        nodes: list[Callable[[Any, Scope, list[str]], None]] = []
        while self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            self._at += 1
            if kind == "text":
                nodes.append(_text(text))
                continue
            word = text.split(None, 1)[0] if text.strip() else ""
            if not word:
                raise TemplateError(
                    "template parsing error: template: :1: missing value for command"
                )
            if word == "end" or word == "else":
                return nodes, text
            if word in ("if", "with", "range"):
                nodes.append(self._block(word, text[len(word) :].strip()))
            else:
                nodes.append(_action(text))
        return nodes, ""

    def _block(self, word: str, condition: str) -> Callable[[Any, Scope, list[str]], None]:
        names, pipe = _declared(condition)
        body, end = self._parse_list()
        other: list[Callable[[Any, Scope, list[str]], None]] = []
        if end.startswith("else"):
            rest = end[4:].strip()
            if rest:
                other = [self._block(*rest.split(None, 1))]
                end = "end"
            else:
                other, end = self._parse_list()
        if end != "end":
            raise TemplateError("template parsing error: template: :1: unexpected EOF")

        def run(dot: Any, scope: Scope, out: list[str]) -> None:
            value = pipe(dot, scope)
            if word == "range":
                pairs = _pairs(value)
                for key, item in pairs:
                    inner = dict(scope)
                    for name, bound in zip(
                        names, (key, item) if len(names) == 2 else (item,), strict=False
                    ):
                        inner[name] = bound
                    for node in body:
                        node(item, inner, out)
                nodes = [] if pairs else other
                for node in nodes:
                    node(dot, scope, out)
                return
            if names:
                scope = {**scope, names[0]: value}
            taken = bool(value)
            for node in body if taken else other:
                node(value if word == "with" and taken else dot, scope, out)

        return run


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    raise TemplateError(f"template: :1: range can't iterate over {show(value)}")


def _text(text: str) -> Callable[[Any, Scope, list[str]], None]:
    return lambda dot, scope, out: out.append(text)


def _declared(text: str) -> tuple[list[str], Callable[[Any, Scope], Any]]:
    names: list[str] = []
    left, colon, right = text.partition(":=")
    if colon and left.strip().startswith("$"):
        names = [name.strip() for name in left.split(",")]
        text = right
    return names, _pipeline(text.strip())


def _action(text: str) -> Callable[[Any, Scope, list[str]], None]:
    names, pipe = _declared(text)

    def run(dot: Any, scope: Scope, out: list[str]) -> None:
        value = pipe(dot, scope)
        if names:
            scope[names[0]] = value
        else:
            out.append("<no value>" if value is None else show(value))

    return run


def _split(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    trim = False
    while text:
        literal, opened, rest = text.partition("{{")
        if trim:
            literal = literal.lstrip()
        if not opened:
            tokens.append(("text", literal))
            break
        close = _closing(rest)
        action, text = rest[:close], rest[close + 2 :]
        if action.startswith("- "):
            literal, action = literal.rstrip(), action[2:]
        trim = action.endswith(" -")
        if trim:
            action = action[:-2]
        tokens.append(("text", literal))
        action = action.strip()
        if not action.startswith("/*"):
            tokens.append(("action", action))
    return tokens


def _closing(text: str) -> int:
    at = 0
    while at < len(text):
        char = text[at]
        if char in "\"`'":
            at += 1
            while at < len(text) and text[at] != char:
                at += 2 if text[at] == "\\" and char != "`" else 1
        elif text.startswith("}}", at):
            return at
        at += 1
    raise TemplateError("template parsing error: template: :1: unclosed action")


def _words(text: str) -> list[str]:
    words: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
        elif char in "|()":
            words.append(char)
            at += 1
        else:
            start = at
            if char in "\"`'":
                at += 1
                while at < len(text) and text[at] != char:
                    at += 2 if text[at] == "\\" and char != "`" else 1
                at += 1
            else:
                while at < len(text) and not text[at].isspace() and text[at] not in "|()":
                    at += 1
            words.append(text[start:at])
            # `(index .A 0).B`: the field belongs to the value in front of it
            if words[-1].startswith(".") and start and text[start - 1] == ")":
                words[-1] = "@" + words[-1]
    return words


def _pipeline(text: str) -> Callable[[Any, Scope], Any]:
    words = _words(text)
    if not words:
        raise TemplateError("template parsing error: template: :1: missing value for command")
    evaluate, rest = _parse_pipe(words)
    if rest:
        raise TemplateError(f"template parsing error: template: :1: unexpected {quote(rest[0])}")
    return evaluate


def _parse_pipe(words: list[str]) -> tuple[Callable[[Any, Scope], Any], list[str]]:
    stages: list[list[Callable[[Any, Scope], Any] | str]] = [[]]
    while words and words[0] != ")":
        word = words.pop(0)
        if word == "|":
            stages.append([])
        elif word == "(":
            inner, words = _parse_pipe(words)
            if not words:
                raise TemplateError("template parsing error: template: :1: unclosed left paren")
            words.pop(0)
            while words and words[0].startswith("@"):
                inner = _member_of(inner, words.pop(0)[1:])
            stages[-1].append(inner)
        else:
            stages[-1].append(_operand(word))
    for stage in stages:
        if not stage:
            raise TemplateError("template parsing error: template: :1: missing value for command")

    def evaluate(dot: Any, scope: Scope) -> Any:
        value: Any = None
        for number, stage in enumerate(stages):
            head, *rest = stage
            arguments = [item(dot, scope) if callable(item) else _call(item, []) for item in rest]
            if number:
                arguments.append(value)
            if isinstance(head, str):
                value = _call(head, arguments)
            else:
                value = head(dot, scope)
                if callable(value):
                    value = value(*arguments)
        return value

    return evaluate, words


def _member_of(inner: Callable[[Any, Scope], Any], path: str) -> Callable[[Any, Scope], Any]:
    return lambda dot, scope: _walk(inner(dot, scope), path, scope)


def _operand(word: str) -> Callable[[Any, Scope], Any] | str:
    if word == ".":
        return lambda dot, scope: dot
    if word[0] == ".":
        return lambda dot, scope: _walk(dot, word, scope)
    if word[0] == "$":
        name, dotted, path = word.partition(".")
        return lambda dot, scope: _walk(scope[name], dotted + path, scope)
    if word[0] in "\"'":
        constant: Any = _unquote(word)
    elif word[0] == "`":
        constant = word[1:-1]
    elif word in ("true", "false"):
        constant = word == "true"
    elif word == "nil":
        constant = None
    elif word[0].isdigit() or word[0] == "-":
        constant = float(word) if "." in word else int(word, 0)
    elif word in FUNCTIONS:
        return word
    else:
        raise TemplateError(f'template parsing error: template: :1: function "{word}" not defined')
    return lambda dot, scope: constant


def _unquote(word: str) -> str:
    from naru.cli.jsontext import loads

    try:
        return str(loads('"' + word[1:-1] + '"'))
    except ValueError:
        raise TemplateError(
            "template parsing error: template: :1: unterminated quoted string"
        ) from None


def _walk(value: Any, path: str, scope: Scope) -> Any:
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
                f"can't evaluate field {name} in type {_type(value)}"
            )
    return value


def _type(value: Any) -> str:
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


def _call(name: str, arguments: Sequence[Any]) -> Any:
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
                out += f"%!{verb}({_type(value)}={show(value)})"
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
