"""The part of Go's text/template that `--format` is used with, over JSON values.

Actions: fields, variables, pipelines, if/else, range, with, trim markers, comments, and Docker's
functions beside Go's own comparisons.
"""

from __future__ import annotations

from naru.cli.jsontext import quote
from naru.cli.template_functions import FUNCTIONS, call
from naru.cli.template_values import TemplateError, show, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from naru.cli.template_values import Scope

    Node = Callable[[Any, Scope, list[str]], None]
    """Called with the dot, the variables and the output to append to."""
    Pipe = Callable[[Any, Scope], Any]
    """A pipeline: dot and variables -> its value."""


class Template:
    """A parsed template. `TemplateError` from the constructor and from `run`."""

    def __init__(self, text: str) -> None:
        self._tokens = _split(text)
        self._at = 0
        self._body, end = self._parse_list()
        if end:
            raise TemplateError(f"template parsing error: template: :1: unexpected {{{{{end}}}}}")

    def run(self, value: Any, *, root: str = "") -> str:
        """`root`: the Go type of `value` ("*types.Version"), whose unknown members are errors."""
        out: list[str] = []
        scope: Scope = {"$": value, "root": root}
        for node in self._body:
            node(value, scope, out)
        return "".join(out)

    def _parse_list(self) -> tuple[list[Node], str]:
        nodes: list[Node] = []
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

    def _block(self, word: str, condition: str) -> Node:
        names, pipe = _declared(condition)
        body, end = self._parse_list()
        other: list[Node] = []
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


def _text(text: str) -> Node:
    return lambda dot, scope, out: out.append(text)


def _declared(text: str) -> tuple[list[str], Pipe]:
    names: list[str] = []
    left, colon, right = text.partition(":=")
    if colon and left.strip().startswith("$"):
        names = [name.strip() for name in left.split(",")]
        text = right
    return names, _pipeline(text.strip())


def _action(text: str) -> Node:
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


def _pipeline(text: str) -> Pipe:
    words = _words(text)
    if not words:
        raise TemplateError("template parsing error: template: :1: missing value for command")
    evaluate, rest = _parse_pipe(words)
    if rest:
        raise TemplateError(f"template parsing error: template: :1: unexpected {quote(rest[0])}")
    return evaluate


def _parse_pipe(words: list[str]) -> tuple[Pipe, list[str]]:
    stages: list[list[Pipe | str]] = [[]]
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
            arguments = [item(dot, scope) if callable(item) else call(item, []) for item in rest]
            if number:
                arguments.append(value)
            if isinstance(head, str):
                value = call(head, arguments)
            else:
                value = head(dot, scope)
                if callable(value):
                    value = value(*arguments)
        return value

    return evaluate, words


def _member_of(inner: Pipe, path: str) -> Pipe:
    return lambda dot, scope: walk(inner(dot, scope), path, scope)


def _operand(word: str) -> Pipe | str:
    if word == ".":
        return lambda dot, scope: dot
    if word[0] == ".":
        return lambda dot, scope: walk(dot, word, scope)
    if word[0] == "$":
        name, dotted, path = word.partition(".")
        return lambda dot, scope: walk(scope[name], dotted + path, scope)
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
