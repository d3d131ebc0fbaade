"""The text of `--help`, made from the table of options."""

from __future__ import annotations

import textwrap

from naru.daemon.option_types import go_text
from naru.daemon.options import OPTIONS, OfProgram, Option, Program

_INDENT = 38


def text(program: Program) -> str:
    rows = [
        (option.short, option.flag, option.type.word, _help(option, program)) for option in OPTIONS
    ]
    rows += [
        ("", "help", "", "Print usage"),
        ("", "validate", "", "Validate the configuration and quit"),
        ("v", "version", "", "Print version information and quit"),
    ]
    lines = [
        f"Usage:  {program.name} [OPTIONS]",
        "",
        "The daemon of Naru, a container engine that serves the Docker Engine API.",
        "",
        "Options:",
    ]
    for short, flag, word, text in sorted(rows, key=lambda row: row[1]):
        head = f"  {f'-{short}, ' if short else '    '}--{flag}{f' {word}' if word else ''}"
        wrapped = textwrap.wrap(text, 100 - _INDENT)
        lines.append(f"{head:<{_INDENT - 1}} {wrapped[0]}")
        lines += [" " * _INDENT + line for line in wrapped[1:]]
    return "\n".join(lines)


def _help(option: Option, program: Program) -> str:
    default = option.default
    if isinstance(default, OfProgram):
        default = getattr(program, default.attribute)
    if option.flag == "host":
        default = f"unix://{program.socket}"
    if default in (False, "", (), {}) or option.flag in ("live-restore", "min-free-space"):
        return option.help
    shown = f'"{default}"' if isinstance(default, str) else go_text(default)
    return f"{option.help} (default {shown})"
