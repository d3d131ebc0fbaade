"""The tree of images: which names, sizes and platforms it shows, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from naru.cli.commands import image_tree
from naru.cli.commands.image_tree import tree

ITEMS = json.loads((Path(__file__).parent / "image_tree.json").read_text())


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_tree, "is_terminal", lambda fd: False)
    monkeypatch.setattr(image_tree, "size", lambda: (0, 0))


def test_platforms_stand_below_their_image() -> None:
    lines = tree(ITEMS, untagged=False).split("\n")
    at = next(at for at, line in enumerate(lines) if line.startswith("a:2"))
    assert lines[at - 1] == "b:1"
    # The content is that of both platforms and of the attestation.
    assert lines[at].split() == ["a:2", "111111111111", "123MB", "13.7MB", "U"]
    assert lines[at + 1].split() == ["├─", "linux/amd64", "a" * 12, "12.3MB", "4.57MB", "U"]
    assert lines[at + 2].split() == ["└─", "linux/arm64/v8", "b" * 12, "12.3MB", "4.57MB"]
    assert lines[at + 3] == ""


def test_untagged_images_are_shown_on_demand() -> None:
    assert "<untagged>" not in tree(ITEMS, untagged=False)
    assert tree(ITEMS, untagged=True).count("<untagged>") == 2


def test_nothing_is_wider_than_the_terminal() -> None:
    for line in tree(ITEMS, untagged=True).split("\n")[1:]:
        assert len(line.replace("\x1b[39m\x1b[1m", "").replace("\x1b[0m", "")) <= 80


def test_without_platforms_there_are_no_gaps() -> None:
    bare = [{**item, "Manifests": []} for item in ITEMS]
    assert "\n\n" not in tree(bare, untagged=True).partition("EXTRA")[2]
