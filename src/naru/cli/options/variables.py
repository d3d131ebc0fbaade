"""Names and values: variables, labels, options, and the files of them.

What is wrong raises ValueError with Docker's text.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def environment(text: str) -> None:
    if text.startswith("=") or not text:
        raise ValueError(f"invalid environment variable: {text}")


def environments(items: Iterable[str]) -> list[str]:
    """-e values, a bare name taking the client's own value where there is one."""
    return [
        item if "=" in item or item not in os.environ else f"{item}={os.environ[item]}"
        for item in items
    ]


def label(text: str) -> None:
    if not text.partition("=")[0]:
        raise ValueError(f"invalid label '{text}': empty name")


def key_values(items: Iterable[str]) -> dict[str, str]:
    """`["a=b", "c"]` -> `{"a": "b", "c": ""}`."""
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def read_lines(paths: Iterable[str], *, what: str, inherit: bool) -> list[str]:
    """Lines of --env-file and --label-file; a bare name takes the client's own variable."""
    lines: list[str] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                content = file.read().removeprefix(b"\xef\xbb\xbf")
        except FileNotFoundError:
            raise ValueError(f"open {path}: no such file or directory") from None
        except OSError as error:
            raise ValueError(f"open {path}: {(error.strerror or '').lower()}") from None
        try:
            texts = content.decode().split("\n")
        except UnicodeDecodeError:
            raise ValueError(f"env file {path} contains invalid utf8 bytes") from None
        for text in texts:
            text = text.removesuffix("\r").lstrip()
            if not text or text.startswith("#"):
                continue
            name, equals, _ = text.partition("=")
            if not name:
                raise ValueError(f"no variable name on line '{text}'")
            if " " in name.rstrip() or name != name.rstrip():
                raise ValueError(f"{what} '{name}' contains whitespaces")
            if equals:
                lines.append(text)
            elif inherit:
                if name in os.environ:
                    lines.append(f"{name}={os.environ[name]}")
            else:
                lines.append(name)
    return lines
