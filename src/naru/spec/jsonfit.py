"""What Go's decoder overlooks in JSON, put right before the types are checked.

Go takes `null` for "leave the zero value", and a member's name in any case where the exact one is
not there; clients rely on both. Only the members of a struct are names: the keys of a map (labels,
ports, networks) are the user's, and stay as they are.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import msgspec

Fit = Callable[[Any], Any]


def without_nulls(value: Any) -> Any:
    """Drop object members whose value is null, at every depth; nulls in arrays stay."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def fit(shape: Any) -> Fit:
    """What makes a parsed JSON value ready to be converted to `shape`."""
    return _made(shape)


@functools.cache
def _made(shape: Any) -> Fit:
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return _Members(shape)
    kind, inner = get_origin(shape), get_args(shape)
    if kind in (Union, types.UnionType):
        return _alternatives([fit(each) for each in inner])
    item = fit(inner[-1]) if inner else without_nulls
    if item is without_nulls or not isinstance(kind, type):
        return without_nulls
    if issubclass(kind, Mapping):
        return _Values(item)
    return _Items(item) if issubclass(kind, Sequence) else without_nulls


class _Members:
    """Of a struct. The names are collected when the first value comes: structs may be recursive."""

    takes = dict

    def __init__(self, shape: type[msgspec.Struct]) -> None:
        self._shape = shape

    @functools.cached_property
    def _fits(self) -> dict[str, Fit]:
        fields = msgspec.structs.fields(self._shape)
        return {each.encode_name: fit(each.type) for each in fields}

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        return {name.casefold(): name for name in self._fits}

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        fits, found, others = self._fits, {}, None
        for key, item in value.items():
            if item is None:
                continue
            if (fitting := fits.get(key)) is not None:
                found[key] = item if item.__class__ is str else fitting(item)
            elif (name := self._names.get(key.casefold())) is not None:
                others = others or {}
                others[name] = fits[name](item)
            else:
                found[key] = item  # nobody's, and ignored unless the struct forbids it
        return {**others, **found} if others else found


class _Values:
    """Of a map: its keys are data."""

    takes = dict

    def __init__(self, item: Fit) -> None:
        self._item = item

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: self._item(item) for key, item in value.items() if item is not None}


class _Items:
    takes = list

    def __init__(self, item: Fit) -> None:
        self._item = item

    def __call__(self, value: Any) -> Any:
        return [self._item(item) for item in value] if isinstance(value, list) else value


def _alternatives(fits: Sequence[Fit]) -> Fit:
    """By the JSON type: msgspec allows one struct or map, and one list, in a union."""
    by_type = {each.takes: each for each in fits if isinstance(each, _Members | _Values | _Items)}
    if not by_type:
        return without_nulls
    return lambda value: by_type.get(type(value), without_nulls)(value)
