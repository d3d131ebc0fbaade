from __future__ import annotations

import pytest

from naru.engine.images import filters, globs
from naru.spec import reference as references
from naru.spec.errors import InvalidParameter


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("one", "one", True),
        ("o*", "one", True),
        ("*", "a/b", False),
        ("*/*", "a/b", True),
        ("?ne", "one", True),
        ("?ne", "ne", False),
        ("[m-p]ne", "one", True),
        ("[^m-p]ne", "one", False),
        ("[^m-p]ne", "ane", True),
        ("[ab][^c]", "bd", True),
        ("[\\]]", "]", True),
        ("[a\\-c]", "-", True),
        ("one\\:1", "one:1", True),
        ("one\\*", "one*", True),
        ("one\\*", "onex", False),
        ("[z-a]", "m", False),
        ("a.b", "axb", False),
        ("", "", True),
        ("ONE", "one", False),
    ],
)
def test_globs_are_those_of_go(pattern: str, text: str, matches: bool) -> None:
    assert globs.matches(text, pattern) is matches


@pytest.mark.parametrize("pattern", ["[", "a/[", "[]a]", "[-]", "[a-]", "[a", "x\\", "[^]"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^syntax error in pattern$"):
        globs.matches("x", pattern)


def test_references_match_with_and_without_their_tag() -> None:
    name = references.parse("127.0.0.1:5000/team/app:1")
    for pattern in ("127.0.0.1:5000/team/app", "127.0.0.1:5000/*/app:*", "*/team/app"):
        assert filters.reference_matches(name, [pattern])
    assert filters.reference_matches(references.parse("app:1"), ["*"])
    for pattern in ("app", "team/app", "*", "127.0.0.1:5000/*"):
        assert not filters.reference_matches(name, [pattern])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), (["1"], True), (["true", "x"], True), (["0"], False), (["false"], False)],
)
def test_flags(values: list[str], expected: bool | None) -> None:
    assert filters.flag({"dangling": values}, "dangling") is expected


@pytest.mark.parametrize("values", [["TRUE"], ["foo"], ["false", "true"]])
def test_what_is_no_flag_is_refused(values: list[str]) -> None:
    text = f"invalid filter 'dangling=\\[{' '.join(values)}\\]'"
    with pytest.raises(InvalidParameter, match=text):
        filters.flag({"dangling": values}, "dangling")


def test_until_is_a_time() -> None:
    assert filters.until({"until": ["1700000000"]}) == 1_700_000_000 * 10**9
    assert filters.until({"until": ["2024-01-02"]}) == 1_704_153_600 * 10**9


def test_unknown_filters_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="invalid filter 'color'"):
        filters.check({"color": []}, filters.LIST)


def test_until_that_is_no_time() -> None:
    with pytest.raises(InvalidParameter, match='failed to parse value as time or duration: "foo"'):
        filters.until({"until": ["foo"]})
