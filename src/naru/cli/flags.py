"""Command-line flags with pflag's rules, described by one line of text each.

A table has lines such as `-m --memory bytes = Memory limit`: an optional short name, the long
name, the kind of value, and what help says. Parsing the few lines of the one command that runs
costs less than importing argparse.
"""

from __future__ import annotations

from naru.cli.failures import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

LISTS = frozenset(("list", "strings", "filter", "map", "mount", "network", "ulimit"))
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Flag:
    """One flag; `default` is None unless the table says `kind:value`."""

    __slots__ = ("default", "help", "kind", "name", "short")

    def __init__(self, line: str) -> None:
        spec, _, self.help = line.partition(" = ")
        words = spec.split()
        self.short = words.pop(0)[1:] if words[0][1] != "-" else ""
        self.name = words[0][2:]
        self.kind, _, self.default = words[1].partition(":") if len(words) > 1 else ("bool", "", "")

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Values:
    """The flags of one call: `values["name"]`; `values.given` names those that were given."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.given: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str) -> Any:
        """The value, or None when the flag was not given or is not this command's."""
        return self.values.get(name) if name in self.given else None


class UsageError(CliError):
    """A wrong flag or argument: the message carries the command's usage line."""


def table(text: str) -> list[Flag]:
    return [Flag(line) for line in text.strip().split("\n") if line]


class Parser:
    """Parses argv of one command."""

    def __init__(
        self,
        path: str,
        usage: str,
        flags: str,
        *,
        least: int = 0,
        most: int | None = None,
        interspersed: bool = True,
        about: str = "",
        checks: Mapping[str, Callable[[str], object]] | None = None,
    ) -> None:
        self.path = path
        self.usage = usage
        self.flags = table(flags)
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.about = about
        self._checks = checks or {}
        self._long = {flag.name: flag for flag in self.flags}
        self._short = {flag.short: flag for flag in self.flags if flag.short}

    def parse(self, argv: Sequence[str]) -> tuple[Values, list[str]]:
        """(values, positionals); raises UsageError, or HelpWanted for --help."""
        values = Values()
        for flag in self.flags:
            values.values[flag.name] = self._default(flag)
        rest: list[str] = []
        at = 0
        while at < len(argv):
            word = argv[at]
            at += 1
            if word == "--":
                rest += argv[at:]
                break
            if len(word) < 2 or word[0] != "-":
                rest.append(word)
                if not self.interspersed:
                    rest += argv[at:]
                    break
                continue
            at = (
                self._long_flag(values, argv, word, at)
                if word[1] == "-"
                else (self._short_flags(values, argv, word, at))
            )
        self._count(rest)
        return values, rest

    def _default(self, flag: Flag) -> Any:
        if flag.kind in LISTS:
            return []
        if flag.kind == "bool":
            return flag.default == "true"
        if flag.kind in ("string", "gpu-request"):
            return flag.default
        return self._convert(flag, flag.default) if flag.default else 0

    def _long_flag(self, values: Values, argv: Sequence[str], word: str, at: int) -> int:
        name, equals, value = word[2:].partition("=")
        if not name:
            raise self._error(f"bad flag syntax: {word}")
        flag = self._long.get(name)
        if flag is None:
            if name == "help":
                raise HelpWanted
            raise self._error(f"unknown flag: --{name}")
        if not equals:
            if flag.kind == "bool":
                value = "true"
            elif at < len(argv):
                value = argv[at]
                at += 1
            else:
                raise self._error(f"flag needs an argument: --{name}")
        self._set(values, flag, value)
        return at

    def _short_flags(self, values: Values, argv: Sequence[str], word: str, at: int) -> int:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                if letter == "h":
                    raise HelpWanted
                raise self._error(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
            if letters[:1] == "=" and len(letters) > 1:
                value, letters = letters[1:], ""
            elif flag.kind == "bool":
                value = "true"
            elif letters:
                value, letters = letters, ""
            elif at < len(argv):
                value = argv[at]
                at += 1
            else:
                raise self._error(f"flag needs an argument: '{letter}' in {word}")
            self._set(values, flag, value)
        return at

    def _set(self, values: Values, flag: Flag, text: str) -> None:
        value = self._convert(flag, text)
        if flag.kind in LISTS:
            values.values[flag.name].extend(value)
        else:
            values.values[flag.name] = value
        values.given.add(flag.name)

    def _convert(self, flag: Flag, text: str) -> Any:
        kind = flag.kind
        try:
            if kind == "bool":
                if text in _TRUE:
                    return True
                if text in _FALSE:
                    return False
                raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            if kind == "strings":
                return text.split(",") if text else []
            if kind == "filter":
                if "=" not in text:
                    raise ValueError("bad format of filter (expected name=value)") from None
                name, _, value = text.partition("=")
                return [(name.strip().lower(), value.strip())]
            if flag.name in self._checks:
                self._checks[flag.name](text)
            if kind in LISTS:
                return [text]
            if kind in ("int", "uint16", "uint"):
                return _integer(text, kind)
            if kind == "bytes":
                from naru.cli.units import parse_bytes

                return parse_bytes(text)
            if kind == "decimal":
                from naru.cli.units import parse_nano_cpus

                return parse_nano_cpus(text)
            if kind == "duration":
                from naru.cli.times import parse_duration

                return parse_duration(text)
        except ValueError as why:
            raise self._error(f'invalid argument "{text}" for "{flag.shown}" flag: {why}') from None
        return text

    def _count(self, rest: list[str]) -> None:
        count, least, most = len(rest), self.least, self.most
        if count >= least and (most is None or count <= most):
            return
        if most == 0:
            raise self._error(f"'{self.path}' accepts no arguments", prefix=True, status=1)
        if least == most:
            need = f"requires {least} argument{'s' if least > 1 else ''}"
            raise self._error(f"'{self.path}' {need}", prefix=True, status=1)
        if least and most is not None:
            need = f"requires at least {least} and at most {most} arguments"
            raise self._error(f"'{self.path}' {need}", prefix=True, status=1)
        if count < least:
            need = f"requires at least {least} argument{'s' if least > 1 else ''}"
        else:
            need = f"requires at most {most} argument{'s' if most and most > 1 else ''}"
        raise self._error(f"'{self.path}' {need}", prefix=True, status=1, hint="See")

    def _error(
        self, text: str, *, prefix: bool = False, status: int = 125, hint: str = "Run"
    ) -> UsageError:
        head = f"naru: {text}" if prefix else text
        return UsageError(
            f"{head}\n\nUsage:  {self.usage}\n\n{hint} '{self.path} --help' for more information",
            status,
        )

    def help(self) -> str:
        """The text of --help."""
        lines = [f"Usage:  {self.usage}", "", self.about, ""]
        if self.flags:
            lines.append("Options:")
            names = []
            for flag in sorted(self.flags, key=lambda flag: flag.name):
                name = f"-{flag.short}, " if flag.short else "    "
                name += f"--{flag.name}" + ("" if flag.kind == "bool" else f" {flag.kind}")
                names.append((name, flag))
            width = max(len(name) for name, _ in names) + 3
            for name, flag in names:
                shown = f' (default "{flag.default}")' if flag.default else ""
                lines.append(f"  {name:<{width}}{flag.help}{shown}".rstrip())
        return "\n".join(lines) + "\n"


class HelpWanted(Exception):
    """--help was given."""


def _integer(text: str, kind: str) -> int:
    name = "Int" if kind == "int" else "Uint"
    try:
        value = int(text, 0)
    except ValueError:
        raise ValueError(f'strconv.Parse{name}: parsing "{text}": invalid syntax') from None
    if kind != "int" and value < 0:
        raise ValueError(f'strconv.Parse{name}: parsing "{text}": invalid syntax')
    if kind == "uint16" and value > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return value
