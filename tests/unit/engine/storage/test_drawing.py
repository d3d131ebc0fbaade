"""Stacks, their text and their pictures: what is drawn must be what is so."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from naru.engine.storage.picture import picture
from naru.engine.storage.stack import Layer, Stack, Touch, below, owners, telling, trace
from naru.engine.storage.svg import fitted
from naru.engine.storage.text import command, draw, draw_traces
from naru.store.driver import ChangeKind

ADDED, MODIFIED, DELETED = ChangeKind.ADDED, ChangeKind.MODIFIED, ChangeKind.DELETED


def stack(driver: str = "overlay2", depth: int = 2) -> Stack:
    """A container over mount points over `depth` image layers."""
    lowest = Layer(
        role="image", number=1, storage_id="l1", diff_id="sha256:" + "1" * 64, size=3000,
        created_by="/bin/sh -c #(nop) ADD file:1 in / ",
        touches=(
            Touch("/etc", ADDED, directory=True),
            Touch("/etc/passwd", ADDED),
            Touch("/etc/group", ADDED, size=50),
            Touch("/old", ADDED, directory=True),
            Touch("/old/inside", ADDED),
            Touch("/kept", ADDED, size=2000),
        ),
    )  # fmt: skip
    middle = [
        Layer(role="image", number=number, storage_id=f"l{number}", diff_id="sha256:" + "2" * 64,
              size=10, touches=(Touch("/kept-too", ADDED, size=10),) if number == 2 else ())
        for number in range(depth, 1, -1)
    ]  # fmt: skip
    return Stack(
        kind="container", name="<web>", id="f" * 64, driver=driver,
        layers=(
            Layer(
                role="container", storage_id="c", size=160,
                touches=(
                    Touch("/etc", MODIFIED, directory=True),
                    Touch("/etc/passwd", MODIFIED, size=110),
                    Touch("/new & fresh", ADDED, size=50),
                    Touch("/old", DELETED),
                ),
            ),
            Layer(role="mount points", storage_id="i", touches=(Touch("/dev", ADDED, True),)),
            *middle,
            lowest,
        ),
    )  # fmt: skip


def test_who_is_seen() -> None:
    found = owners(stack())
    assert [(owner.files, owner.bytes) for owner in found] == [(2, 160), (0, 0), (1, 10), (2, 2050)]


def test_other_names_of_a_file_take_no_space() -> None:
    layer = Layer(role="image", number=1, storage_id="l", touches=(
        Touch("/a", ADDED, size=7), Touch("/b", ADDED, size=7, again=True),
    ))  # fmt: skip
    (owner,) = owners(Stack(kind="image", name="i", id="i", driver="vfs", layers=(layer,)))
    assert (owner.files, owner.bytes) == (2, 7)


@pytest.mark.parametrize(
    ("path", "exists", "origin", "said"),
    [
        ("/etc/passwd", True, 0, [MODIFIED, None, None, ADDED]),
        ("/kept", True, 3, [None, None, None, ADDED]),
        ("/old", False, None, [DELETED, None, None, ADDED]),
        ("/old/inside", False, None, [DELETED, None, None, ADDED]),
        ("/nowhere", False, None, [None, None, None, None]),
        ("/", True, 0, [MODIFIED] * 4),
    ],
)
def test_where_a_path_comes_from(
    path: str, exists: bool, origin: int | None, said: list[int | None]
) -> None:
    found = trace(stack(), path, exists=exists, directory=False, size=1)
    assert found.origin == origin
    assert [step.kind for step in found.steps] == said
    assert [step.layer for step in found.steps if step.seen] == ([] if origin is None else [origin])


def test_what_was_copied_up_was_below() -> None:
    assert below(stack(), 0, "/etc/passwd") == 3
    assert below(stack(), 0, "/new & fresh") is None


def test_the_text_names_all_of_it() -> None:
    text = draw(stack(), 80)
    assert "~ passwd  110B  copied up from layer 1" in text
    assert "− old  hides that of layer 1" in text
    assert "+ new & fresh  50B" in text
    assert "ADD file:1 in /" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "rewritten from layer 1" in draw(stack("btrfs"), 80)
    traced = draw_traces(
        stack(), [trace(stack(), "/etc/passwd", exists=True, directory=False, size=110)]
    )
    assert "/etc/passwd  comes from container (110B)" in traced
    assert "layer 1       + has it   (hidden)" in traced


def test_a_stack_of_nothing() -> None:
    empty = Stack(kind="image", name="scratch", id="0" * 64, driver="vfs", layers=())
    assert "(no layers)" in draw(empty)
    ElementTree.fromstring(picture(empty))


@pytest.mark.parametrize("depth", [1, 2, 60])
def test_the_picture_is_well_formed_and_all_inside(depth: int) -> None:
    drawn = stack(depth=max(depth, 1))
    root = ElementTree.fromstring(picture(drawn))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "passwd" in texts
    assert "gone" in texts
    assert any("<web>" in text for text in texts)
    assert height < 1200, "many layers are drawn as one row"
    for element in root.iter("{http://www.w3.org/2000/svg}rect"):
        if "x" in element.attrib:
            assert 0 <= float(element.attrib["x"]) <= width
            assert float(element.attrib["x"]) + float(element.attrib["width"]) <= width
            assert float(element.attrib["y"]) + float(element.attrib["height"]) <= height


def test_columns_show_each_kind() -> None:
    chosen = telling(stack(), 8)
    assert {"/etc/passwd", "/old", "/kept", "/kept-too"} <= set(chosen)
    assert len(telling(stack(), 3)) == 3


def test_captions() -> None:
    assert command('/bin/sh -c #(nop)  CMD ["sh"]') == 'CMD ["sh"]'
    assert command("RUN make # buildkit") == "RUN make"
    assert fitted("abcdefghijklmnopqrstuvwxyz", 56, 10) == "abcd…wxyz"
    assert fitted("short", 100, 10) == "short"
