"""References as Docker reads and shows them."""

from __future__ import annotations

import pytest

from naru.spec import reference
from naru.spec.errors import InvalidParameter

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/team/app", "docker.io/team/app", "team/app"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
        ("host.example/a/b__c/d-e", "host.example/a/b__c/d-e", "host.example/a/b__c/d-e"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        (f"app:1@{DIGEST}", f"docker.io/library/app:1@{DIGEST}", f"app:1@{DIGEST}"),
        ("UP/app", "UP/app", "UP/app"),
    ],
)
def test_reads(text: str, full: str, familiar: str) -> None:
    parsed = reference.parse(text)
    assert (str(parsed), parsed.familiar) == (full, familiar)
    assert reference.parse(full) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a@sha256:short", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("App", "repository name (library/App) must be lowercase"),
        ("f" * 64, "cannot specify 64-byte hexadecimal strings"),
        ("a/" * 128 + "b", "repository name must not be more than 255 characters"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        reference.parse(text)
    assert message in str(caught.value)


def test_the_pair_of_the_api() -> None:
    assert str(reference.from_repo_tag("app", "2")) == "docker.io/library/app:2"
    assert reference.from_repo_tag("app", DIGEST).digest == DIGEST
    assert reference.from_repo_tag("app:1", "").tag == "1"
    with pytest.raises(InvalidParameter, match="invalid tag format"):
        reference.from_repo_tag("app", "not/a/tag")
    assert str(reference.parse("app").tagged()) == "docker.io/library/app:latest"
