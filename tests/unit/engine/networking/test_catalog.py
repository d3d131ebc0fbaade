from __future__ import annotations

import pytest

from naru.engine.networking.catalog import filtered
from naru.engine.networking.pruning import Pruning, moment
from naru.spec.errors import InvalidParameter
from naru.spec.networks import NetworkRecord

SECOND = 10**9


def network(name: str, *, created: int = 0, **labels: str) -> NetworkRecord:
    return NetworkRecord(
        id=name.encode().hex(), name=name, driver="bridge", created=created, labels=labels
    )


BRIDGE, USED, FREE = network("bridge"), network("used", a="1"), network("free", a="2")


def names(**filters: list[str]) -> list[str]:
    found = filtered([BRIDGE, USED, FREE], filters, lambda each: each is USED)
    return [each.name for each in found]


def test_filters() -> None:
    assert names() == ["bridge", "used", "free"]
    assert names(name=["us", "free"]) == ["used", "free"]
    assert names(id=[USED.id[:4]]) == ["used"]
    assert names(label=["a"]) == ["used", "free"]
    assert names(label=["a=2"]) == ["free"]
    assert names(type=["builtin"]) == ["bridge"]
    assert names(dangling=["true"]) == ["free"]
    assert names(dangling=["false"]) == ["bridge", "used"]
    assert names(driver=["host"]) == []


def test_unknown_filters_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        names(colour=["red"])
    with pytest.raises(InvalidParameter, match="invalid filter: 'type'='odd'"):
        names(type=["odd"])


def test_pruning_spares_used_young_and_predefined_networks() -> None:
    pruning = Pruning(clock=lambda: 100 * SECOND)
    young = network("young", created=95 * SECOND)
    everything = [BRIDGE, USED, FREE, young]

    def gone(**filters: list[str]) -> list[str]:
        found = pruning.candidates(everything, filters, lambda each: each is USED)
        return [each.name for each in found]

    assert gone() == ["free", "young"]
    assert gone(until=["10s"]) == ["free"]
    assert pruning.candidates(everything, {"label!": ["a"]}, lambda each: False) == [young]
    with pytest.raises(InvalidParameter, match="more than one until"):
        gone(until=["1s", "2s"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", 50 * SECOND),
        ("1m30s", 10 * SECOND),
        ("500ms", 100 * SECOND - SECOND // 2),
        ("1970-01-01T00:00:07+00:00", 7 * SECOND),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert moment(text, now=100 * SECOND) == expected


def test_what_is_no_moment() -> None:
    with pytest.raises(InvalidParameter, match="failed to parse"):
        moment("soon", now=0)
