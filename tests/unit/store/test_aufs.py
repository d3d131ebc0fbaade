"""aufs without its kernel: the branches that are asked for, and reading what a branch hides."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from naru.kernel import mounts
from naru.kernel.mount_options import MS_RDONLY, MS_REMOUNT
from naru.kernel.mounts import Mount
from naru.store.driver import ChangeKind
from naru.store.drivers.aufs_branches import branch_mounts, mount_options
from naru.store.drivers.aufs_flat import flatten
from naru.store.extract import Extractor
from naru.store.tarentry import DIRECTORY, REGULAR, Entry
from naru.store.tarstream import TarReader
from naru.store.tarwriter import TarWriter
from naru.store.upper import AufsMarks, UpperDiff
from naru.store.whiteouts import AufsWhiteouts

TARGET = Path("/t")
OPTIONS = mount_options(TARGET, xino="/dev/shm", dirperm1=True)
PAGE = os.sysconf("SC_PAGE_SIZE")


class Kernel:
    """Records what mount(2) would have been called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[int, str]] = []
        monkeypatch.setattr(mounts, "_mount", self._mount)

    def _mount(self, source: str, target: Path, kind: str, flags: int, data: str) -> None:
        assert (source, target, kind) == ("none", TARGET, "aufs")
        self.calls.append((flags, data))

    def mount(self, plan: list[Mount]) -> None:
        for mount in plan:
            mounts.mount(mount)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def below(count: int) -> list[Path]:
    return [Path(f"/var/lib/naru/aufs/{number:064x}/diff") for number in range(count)]


def test_few_branches_fit_one_mount(kernel: Kernel) -> None:
    plan = branch_mounts(
        Path("/top"), [Path("/b"), Path("/a")], TARGET, read_only=False, options=OPTIONS
    )
    kernel.mount(plan)
    [(flags, data)] = kernel.calls
    assert flags == 0
    branches, dio, noplink, xino, dirperm1 = data.split(",")
    assert branches == "br:/top=rw:/b=ro+wh:/a=ro+wh"
    assert (dio, noplink, dirperm1) == ("dio", "noplink", "dirperm1")
    assert xino.startswith("xino=/dev/shm/.aufs-")


def test_each_mount_point_has_an_inode_table_of_its_own() -> None:
    one, same, other = (
        mount_options(Path(target), xino="/run", dirperm1=False) for target in ("/a", "/a", "/b")
    )
    assert one == same != other
    assert mount_options(TARGET, xino=None, dirperm1=False) == ["dio", "noplink"]


@pytest.mark.parametrize("count", [1, 42, 127, 400])
@pytest.mark.parametrize("read_only", [False, True])
def test_branches_come_in_order_and_in_pages(kernel: Kernel, count: int, read_only: bool) -> None:
    lower = below(count - 1)
    plan = branch_mounts(Path("/top"), lower, TARGET, read_only=read_only, options=OPTIONS)
    kernel.mount(plan)
    # The kernel takes a page, the byte that ends it among them, and cuts off the rest.
    assert all(len(data.encode()) < PAGE for _, data in kernel.calls)
    # None is left half empty.
    assert all(len(data.encode()) > PAGE - 100 for _, data in kernel.calls[:-1])
    own_flags = MS_RDONLY if read_only else 0
    assert [flags for flags, _ in kernel.calls] == [
        own_flags, *[MS_REMOUNT | own_flags] * (len(kernel.calls) - 1),
    ]  # fmt: skip
    first, *rest = (data for _, data in kernel.calls)
    named, *options = first.split(",")
    assert options == OPTIONS
    branches = named.removeprefix("br:").split(":")
    for page in rest:
        assert all(word.startswith("append:") for word in page.split(","))
        branches += [word.removeprefix("append:") for word in page.split(",")]
    top = "/top=ro+wh" if read_only else "/top=rw"
    assert branches == [top, *(f"{path}=ro+wh" for path in lower)]


def test_long_names_fill_a_page_each(kernel: Kernel) -> None:
    lower = [Path(f"/{number}" + "/n" * 1500) for number in range(3)]
    kernel.mount(branch_mounts(Path("/top"), lower, TARGET, read_only=False, options=OPTIONS))
    assert len(kernel.calls) == 3
    assert all(len(data) < PAGE for _, data in kernel.calls)


def test_a_branch_says_what_it_hides(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in ("d/gone", "o/old", "o/both", "kept"):
        (lower / path).parent.mkdir(parents=True, exist_ok=True)
        (lower / path).touch()
    for path in (
        "d/.wh.gone", "d/new", "o/.wh..wh..opq", "o/both", ".wh.never", ".wh..wh.aufs",
        ".wh..wh.plnk/x",
    ):  # fmt: skip
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).touch()
    found = UpperDiff(upper, [lower], AufsMarks())
    assert [tuple(change) for change in found.changes()] == [
        ("/d", ChangeKind.MODIFIED),
        ("/d/gone", ChangeKind.DELETED),
        ("/d/new", ChangeKind.ADDED),
        ("/o", ChangeKind.MODIFIED),
        ("/o/both", ChangeKind.MODIFIED),
        ("/o/old", ChangeKind.DELETED),
    ]
    out = io.BytesIO()
    found.write(out)
    names = [entry.name for entry in TarReader(io.BytesIO(out.getvalue()))]
    assert names == [
        ".wh.never", "d/", "d/.wh.gone", "d/new", "o/", "o/.wh..wh..opq", "o/both",
    ]  # fmt: skip


def archive(*entries: Entry) -> io.BytesIO:
    out = io.BytesIO()
    writer = TarWriter(out)
    for entry in entries:
        writer.add(entry)
    writer.close()
    out.seek(0)
    return out


def unpacked(root: Path, *entries: Entry) -> set[str]:
    root.mkdir(parents=True)
    with Extractor(root, whiteouts=AufsWhiteouts()) as extractor:
        extractor.extract(archive(*entries))
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_a_layers_whiteouts_are_aufs_own(tmp_path: Path) -> None:
    found = unpacked(
        tmp_path / "branch",
        Entry("d/.wh.gone", REGULAR), Entry("o", DIRECTORY, mode=0o755),
        Entry("o/.wh..wh..opq", REGULAR), Entry(".wh..wh.plnk", DIRECTORY), Entry(".wh.f", REGULAR),
    )  # fmt: skip
    assert found == {"d", "d/.wh.gone", "o", "o/.wh..wh..opq", ".wh.f"}


def test_what_a_layer_hides_and_puts_back_is_not_hidden(tmp_path: Path) -> None:
    """aufs would show neither the name's own file nor anything below."""
    found = unpacked(
        tmp_path / "branch",
        Entry(".wh.file", REGULAR), Entry("file", REGULAR),
        Entry(".wh.d", REGULAR), Entry("d", DIRECTORY, mode=0o755), Entry("d/new", REGULAR),
        Entry("e/new", REGULAR), Entry(".wh.e", REGULAR),
        Entry(".wh.implied", REGULAR), Entry("implied/new", REGULAR),
    )  # fmt: skip
    assert found == {
        "file", "d", "d/new", "d/.wh..wh..opq", "e", "e/new", "e/.wh..wh..opq",
        "implied", "implied/new", "implied/.wh..wh..opq",
    }  # fmt: skip


def test_a_stack_of_branches_becomes_one_of_hard_links(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    unpacked(
        one,
        Entry("d", DIRECTORY, mode=0o755), Entry("d/gone", REGULAR), Entry("d/kept", REGULAR),
        Entry("o", DIRECTORY, mode=0o755), Entry("o/old", REGULAR), Entry("was-file", REGULAR),
        Entry("was-directory/x", REGULAR), Entry("same", REGULAR, mode=0o640),
    )  # fmt: skip
    unpacked(
        two,
        Entry("d", DIRECTORY, mode=0o700, uid=5, mtime=10**18 + 1), Entry("d/.wh.gone", REGULAR),
        Entry("o", DIRECTORY, mode=0o755), Entry("o/.wh..wh..opq", REGULAR),
        Entry("o/new", REGULAR), Entry("was-file", DIRECTORY, mode=0o755), Entry("top", REGULAR),
    )  # fmt: skip
    (two / ".wh..wh.aufs").touch()
    unpacked(three, Entry("was-directory", REGULAR), Entry(".wh.top", REGULAR))
    flat = tmp_path / "flat"
    flat.mkdir()
    flatten([three, two, one], flat)
    assert {str(path.relative_to(flat)) for path in flat.rglob("*")} == {
        "d", "d/kept", "o", "o/new", "was-file", "was-directory", "same",
    }  # fmt: skip
    assert os.path.samefile(flat / "same", one / "same")
    assert (flat / "was-directory").is_file()
    status = (flat / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o700, 10**18 + 1)
