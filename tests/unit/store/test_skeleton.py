"""What is kept of a tar makes that very tar again, whatever its members did to each other."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naru.store.extract import Extractor
from naru.store.skeleton import SKELETON, TarKeeper, tar_pieces
from naru.store.tarentry import DIRECTORY, HARDLINK, REGULAR, SYMLINK, Entry, ExtractError
from naru.store.tarwriter import TarWriter
from naru.store.whiteouts import OverlayWhiteouts

NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/b/a", "b/a/b"])
KINDS = st.sampled_from([REGULAR, REGULAR, REGULAR, DIRECTORY, DIRECTORY, SYMLINK, HARDLINK])
LINKS = st.sampled_from(["a", "b", "a/b", "..", "/b", "b/a"])
WHITEOUTS = st.sampled_from([".wh.a", "a/.wh.b", "b/.wh..wh..opq", "a/.wh..wh..opq"])
MEMBERS = st.one_of(st.builds(Entry, NAMES, KINDS, linkname=LINKS), st.builds(Entry, WHITEOUTS))


def archive(members: list[Entry]) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out)
    for number, entry in enumerate(members):
        data = b"%d" % number * (number % 3)
        entry.size = len(data) if entry.kind == REGULAR else 0
        writer.add(entry, [data])
    writer.close()
    return out.getvalue()


def kept(tar: bytes, home: Path) -> bytes:
    """The tar as it comes back from what was unpacked."""
    (home / "diff").mkdir()
    whiteouts = OverlayWhiteouts(userxattr=True)
    with (
        TarKeeper(io.BytesIO(tar), home, home / "diff") as keeper,
        Extractor(home / "diff", whiteouts=whiteouts, witness=keeper) as extractor,
    ):
        extractor.extract(keeper)  # type: ignore[arg-type]
    return b"".join(tar_pieces(home, home / "diff"))


@pytest.mark.skipif(os.geteuid() != 0, reason="makes whiteouts")
@settings(max_examples=200, derandomize=True, deadline=None)
@given(members=st.lists(MEMBERS, max_size=14))
def test_the_very_tar_can_be_written_again(members: list[Entry]) -> None:
    tar = archive(members)
    with tempfile.TemporaryDirectory(prefix="naru-test-skeleton-") as home:
        try:
            again = kept(tar, Path(home))
        except ExtractError:
            return  # no layer that could be unpacked
    assert again == tar


@pytest.mark.skipif(os.geteuid() != 0, reason="makes whiteouts")
def test_a_layer_that_hides_names_below_needs_no_copy_of_its_tar(tmp_path: Path) -> None:
    tar = archive([Entry("d", DIRECTORY), Entry("d/x"), Entry("d/.wh.y"), Entry(".wh.z")])
    assert kept(tar, tmp_path) == tar
    assert sorted(os.listdir(tmp_path)) == ["diff", SKELETON]
