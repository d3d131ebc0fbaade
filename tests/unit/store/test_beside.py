"""Two processes unpack what one would have unpacked, whatever the order of the members."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naru.kernel import workers_main
from naru.store import beside
from naru.store.extract import Extractor
from naru.store.scribe import Scribe
from naru.store.skeleton import SKELETON, TarKeeper, tar_pieces
from naru.store.tarentry import DIRECTORY, HARDLINK, REGULAR, SYMLINK, Entry, ExtractError
from naru.store.tarwriter import TarWriter
from naru.store.whiteouts import DeleteWhiteouts, OverlayWhiteouts, Whiteouts

NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/b/a", "b/a/b"])
MEMBERS = st.one_of(
    st.builds(
        Entry,
        NAMES,
        st.sampled_from([REGULAR, REGULAR, REGULAR, DIRECTORY, DIRECTORY, SYMLINK, HARDLINK]),
        mode=st.sampled_from([0o644, 0o4755, 0o2775, 0o600]),
        uid=st.sampled_from([0, 5]),
        gid=st.sampled_from([0, 7]),
        mtime=st.sampled_from([10**18, 10**18 + 5]),
        linkname=st.sampled_from(["a", "b", "a/b", "..", "/b", "b/a"]),
    ),
    st.builds(Entry, st.sampled_from([".wh.a", "a/.wh.b", "b/.wh..wh..opq", "a/.wh..wh..opq"])),
)


LATEST = 10**18 + 9
"""What is later is the time of the test: no member gave it."""


def archive(members: list[Entry]) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out)
    for number, entry in enumerate(members):
        data = b"%d" % number * (number % 3)
        entry.size = len(data) if entry.kind == REGULAR else 0
        writer.add(entry, [data])
    writer.close()
    return out.getvalue()


def told(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree but its change times; hard links by the first of their names."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status, name = path.lstat(), str(path.relative_to(root))
        content = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_text()
        given_time = min(status.st_mtime_ns, LATEST)
        found[name] = (
            stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid,
            status.st_gid, given_time, first.setdefault(status.st_ino, name), content,
        )  # fmt: skip
    return found


@contextmanager
def another_process() -> Iterator[None]:
    with (
        mock.patch.object(workers_main, "in_worker", new=True),
        mock.patch.object(beside, "_BEGIN", 0),
    ):
        yield


def unpacked(tar: bytes, whiteouts: Whiteouts | None) -> tuple[str, dict[str, tuple[object, ...]]]:
    """-> what went wrong, and what is there."""
    error = ""
    root = Path(tempfile.mkdtemp(prefix="naru-test-beside-"))
    try:
        try:
            with Extractor(root, whiteouts=whiteouts) as extractor:
                extractor.extract(io.BytesIO(tar))
        except ExtractError as failed:
            error = str(failed)
        return error, told(root) if not error else {}
    finally:
        shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
@settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(members=st.lists(MEMBERS, max_size=14), layered=st.booleans())
def test_the_outcome_is_that_of_one_process(members: list[Entry], layered: bool) -> None:
    tar = archive(members)
    alone = unpacked(tar, DeleteWhiteouts() if layered else None)
    with another_process():
        together = unpacked(tar, DeleteWhiteouts() if layered else None)
    assert (bool(together[0]), together[1]) == (bool(alone[0]), alone[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
@settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(members=st.lists(MEMBERS, max_size=14))
def test_the_very_tar_can_be_written_again(members: list[Entry]) -> None:
    tar = archive(members)
    with tempfile.TemporaryDirectory(prefix="naru-test-beside-") as name, another_process():
        home = Path(name)
        (home / "diff").mkdir()
        whiteouts = OverlayWhiteouts(userxattr=True)
        try:
            with (
                TarKeeper(io.BytesIO(tar), home, home / "diff") as kept,
                Extractor(home / "diff", whiteouts=whiteouts, witness=kept) as extractor,
            ):
                extractor.extract(kept)  # type: ignore[arg-type]
        except ExtractError:
            return
        assert b"".join(tar_pieces(home, home / "diff")) == tar


def test_files_are_really_written_by_another_process(tmp_path: Path) -> None:
    tar = archive([Entry("d", DIRECTORY), *(Entry(f"d/{n}") for n in range(9))])
    wrote: list[str] = []
    plain = Extractor._write_beside

    def write(self: Extractor, path: str, entry: Entry, data: memoryview) -> None:
        wrote.append(path)  # in a copy of the list
        plain(self, path, entry, data)
        (tmp_path / "pids").open("a").write(f"{os.getpid()}\n")

    (tmp_path / "root").mkdir()
    with (
        another_process(),
        mock.patch.object(Extractor, "_write_beside", write),
        Extractor(tmp_path / "root") as extractor,
    ):
        extractor.extract(io.BytesIO(tar))
    pids = set((tmp_path / "pids").read_text().split())
    assert len(pids) == 1
    assert str(os.getpid()) not in pids
    assert wrote == []
    assert not Path(f"/proc/{pids.pop()}").exists()  # it has ended with the extractor


def test_an_error_names_the_member_that_it_is_about(tmp_path: Path) -> None:
    members = [Entry("d", DIRECTORY), *(Entry(f"d/{n}") for n in range(9))]
    members.insert(4, Entry("d/" + "n" * 256))
    with (
        another_process(),
        Extractor(tmp_path) as extractor,
        pytest.raises(ExtractError, match=r"^'d/n{256}': File name too long$"),
    ):
        extractor.extract(io.BytesIO(archive(members)))


def test_a_scribe_that_was_killed_is_an_error() -> None:
    scribe = Scribe(lambda record, data: os.kill(os.getpid(), 9))
    try:
        scribe.give((1, 0), memoryview(b""))
        with pytest.raises(OSError, match="the process that writes files has ended"):
            scribe.settle()
    finally:
        scribe.close()


def test_an_error_that_does_not_survive_pickling_is_told_by_its_text() -> None:
    class Strange(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def write(record: object, data: object) -> None:
        raise Strange(1, 2)

    scribe = Scribe(write)
    try:
        scribe.give((1, 0), memoryview(b""))
        with pytest.raises(OSError, match="Strange: 1 and 2"):
            scribe.settle()
    finally:
        scribe.close()


def test_a_layer_that_hides_names_below_needs_no_copy_of_its_tar(tmp_path: Path) -> None:
    tar = archive([Entry("d", DIRECTORY), Entry("d/x"), Entry("d/.wh.y"), Entry(".wh.z")])
    (tmp_path / "diff").mkdir()
    with (
        TarKeeper(io.BytesIO(tar), tmp_path, tmp_path / "diff") as kept,
        Extractor(
            tmp_path / "diff", whiteouts=OverlayWhiteouts(userxattr=True), witness=kept
        ) as extractor,
    ):
        extractor.extract(kept)  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == ["diff", SKELETON]
    assert b"".join(tar_pieces(tmp_path, tmp_path / "diff")) == tar
