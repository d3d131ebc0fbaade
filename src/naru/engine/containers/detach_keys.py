"""The key sequence that leaves a terminal session without ending it; pure.

Text such as `ctrl-p,ctrl-q` or `a,ctrl-@` becomes bytes; a `DetachScanner` finds them in the input.
"""

from __future__ import annotations

from typing import Final

from naru.spec.errors import InvalidParameter

DEFAULT: Final = b"\x10\x11"
"""ctrl-p,ctrl-q"""

_CONTROL: Final = {
    **{f"ctrl-{chr(letter)}": letter - ord("a") + 1 for letter in range(ord("a"), ord("z") + 1)},
    "ctrl-@": 0,
    "ctrl-[": 27,
    "ctrl-\\": 28,
    "ctrl-]": 29,
    "ctrl-^": 30,
    "ctrl-_": 31,
}


def parse(text: str) -> bytes:
    """The bytes of a sequence; "" is the default one. Raises Docker's `InvalidParameter`."""
    if not text:
        return DEFAULT
    return bytes(_code(key) for key in text.split(","))


def _code(key: str) -> int:
    if len(key) == 1 and key.isascii():
        return ord(key)
    code = _CONTROL.get(key)
    if code is None:
        raise InvalidParameter(f"Invalid escape keys ({key}) provided")
    return code


class DetachScanner:
    """Passes input through and keeps back what may be the beginning of the sequence."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """-> (what the process shall get, whether the sequence is complete)."""
        keys = self._keys
        if not keys:
            return data, False
        if self._matched == 0 and data.find(keys[:1]) < 0:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    self._matched = 0
                    return bytes(passed), True
                continue
            self._give_back(passed, byte)
        return bytes(passed), False

    def _give_back(self, passed: bytearray, byte: int) -> None:
        # What was held back plus this byte may itself end in a shorter beginning ("aab" in "aaab").
        held = self._keys[: self._matched] + bytes((byte,))
        keep = next(
            size
            for size in range(len(held) - 1, -1, -1)
            if self._keys.startswith(held[len(held) - size :])
        )
        passed += held[: len(held) - keep]
        self._matched = keep
