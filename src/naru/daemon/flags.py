"""Command-line flags in the manner of Go's pflag, which dockerd's users write.

`--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, `-Dl debug`; a switch takes its
value only after `=`. Pure: an argument list in, texts out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class UsageError(Exception):
    """The command line is wrong; the text is pflag's."""


class Given(NamedTuple):
    """A flag as it was given: which one, and its text ("true" for a bare switch)."""

    name: str
    text: str


def parse(
    arguments: Sequence[str], *, takes_value: Mapping[str, bool], shorthands: Mapping[str, str]
) -> list[Given]:
    """`takes_value` knows every long name (without dashes), `shorthands` maps letter to name."""
    given: list[Given] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            if rest:
                raise UsageError(f'accepts no arguments, got "{rest[0]}"')
        elif argument.startswith("--"):
            given.append(_long(argument, rest, takes_value))
        elif argument.startswith("-") and len(argument) > 1:
            given.extend(_short(argument, rest, takes_value, shorthands))
        else:
            raise UsageError(f'accepts no arguments, got "{argument}"')
    return given


def _long(argument: str, rest: list[str], takes_value: Mapping[str, bool]) -> Given:
    name, equals, text = argument[2:].partition("=")
    if name not in takes_value:
        raise UsageError(f"unknown flag: --{name}")
    if equals:
        return Given(name, text)
    if not takes_value[name]:
        return Given(name, "true")
    if not rest:
        raise UsageError(f"flag needs an argument: --{name}")
    return Given(name, rest.pop(0))


def _short(
    argument: str, rest: list[str], takes_value: Mapping[str, bool], shorthands: Mapping[str, str]
) -> list[Given]:
    given: list[Given] = []
    letters = argument[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        name = shorthands.get(letter)
        if name is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {argument}")
        if letters.startswith("="):
            given.append(Given(name, letters[1:]))
            break
        if not takes_value[name]:
            given.append(Given(name, "true"))
            continue
        if letters:
            given.append(Given(name, letters))
        elif rest:
            given.append(Given(name, rest.pop(0)))
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in {argument}")
        break
    return given
