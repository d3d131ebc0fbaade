"""The tree of a layer tar: where its members end up, whatever came before them."""

from __future__ import annotations

import io
import tarfile

import pytest

from naru.store.erofs_tree import LayerTree, Node
from naru.store.tarentry import TarError


def tree_of(*members: tuple[str, bytes, str]) -> LayerTree:
    """(name, tar type, link target) of each."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    tree = LayerTree()
    tree.read(io.BytesIO(packed.getvalue()))
    return tree


def names(node: Node) -> dict[str, object]:
    """Each name below a directory, with what is below it, or None for what is no directory."""
    found = (node.children or {}).items()
    return {name.decode(): names(child) if child.children is not None else None
            for name, child in found}  # fmt: skip


REG, DIR, SYM = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE


def test_a_directory_that_a_link_replaces_no_longer_takes_what_follows() -> None:
    tree = tree_of(
        ("a", DIR, ""), ("b", DIR, ""), ("a/x", REG, ""), ("a", SYM, "b"), ("a/y", REG, "")
    )
    assert names(tree.root) == {"a": None, "b": {"y": None}}


@pytest.mark.parametrize("spelled", ["d/x", "./d/x", "/d/x", "d//x", "d/./x", "./d/./x"])
def test_names_that_mean_the_same_lead_to_the_same_place(spelled: str) -> None:
    tree = tree_of(("d", DIR, ""), ("d/w", REG, ""), (spelled, REG, ""), ("d/z", REG, ""))
    assert names(tree.root) == {"d": {"w": None, "x": None, "z": None}}


def test_a_name_ending_in_a_dot_is_the_directory_before_it() -> None:
    tree = tree_of(("d", DIR, ""), ("d/.", DIR, ""), ("d/x", REG, ""))
    assert names(tree.root) == {"d": {"x": None}}


@pytest.mark.parametrize("bad", ["d/../x", "d/x/..", "d/" + "n" * 256])
def test_names_that_no_layer_may_have_are_refused_beside_good_ones(bad: str) -> None:
    with pytest.raises(TarError):
        tree_of(("d", DIR, ""), ("d/w", REG, ""), (bad, REG, ""))


def test_a_type_that_nothing_can_be_made_of_is_refused() -> None:
    with pytest.raises(TarError, match="'strange': unhandled tar header type 65"):
        tree_of(("strange", b"A", ""))
