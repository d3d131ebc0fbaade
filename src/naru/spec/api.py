"""The base of every value that the Engine API's JSON carries."""

from __future__ import annotations

import msgspec


class Api(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A value of the Engine API: attributes in snake_case, JSON members in PascalCase."""
