"""The contract of `store/driver.StorageDriver`, over every driver that this machine can run.

NARU_TEST_DRIVERS names the drivers to run (space or comma between them), for machines whose kernel
has more; a driver that is named and does not start fails instead of being skipped.
NARU_TEST_STORAGE is a directory to work in, to choose the backing file system. Without either,
"DRIVER on FS" are run as well, on file systems made for the purpose, and variants: "aufs simulated"
is the driver over a stand-in for its kernel (`harness/fake_aufs`), "erofs loops" and "wide-loops"
mount as kernels before 6.12 and 6.4 must.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness.fake_aufs import FakeAufs
from tests.harness.loopdisk import NoDisk, loop_disk

from naru.kernel import mounts
from naru.kernel.mounts import Mount
from naru.spec.errors import NaruError
from naru.store.choice import choose, known
from naru.store.driver import Change, ChangeKind, KeepsTars, Stages, StorageDriver
from naru.store.drivers import aufs
from naru.store.drivers.erofs import Erofs
from naru.store.drivers.erofs_backing import LOOPS, WIDE_LOOPS
from naru.store.tarentry import (
    BLOCKDEV,
    CHARDEV,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
)
from naru.store.tarstream import TarReader
from naru.store.tarwriter import TarWriter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_BASE = os.environ.get("NARU_TEST_STORAGE")
_NAMED = os.environ.get("NARU_TEST_DRIVERS", "").replace(",", " ").split()
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
SECOND = 1_000_000_000
TIME = 1_600_000_000 * SECOND + 123_456_789


class Store:
    """A driver and its mounts, in a directory of its own."""

    def __init__(self, driver: StorageDriver, root: Path) -> None:
        self.root = root
        self.driver = driver
        self.mount: Callable[[Mount], None] = mounts.mount
        self.unmount: Callable[[Path, bool], None] = mounts.unmount

    def layer(self, name: str, parent: str | None, *members: tuple[Entry, bytes]) -> int:
        self.driver.create(name, parent, writable=False)
        return self.driver.apply(name, io.BytesIO(archive(*members)))

    def writable(self, name: str, parent: str | None) -> None:
        self.driver.create(name, parent, writable=True)

    @contextlib.contextmanager
    def mounted(self, name: str, *, read_only: bool = False) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.root.parent) as where:
            target = Path(where)
            try:
                for mount in self.driver.mounts(name, target, read_only=read_only):
                    self.mount(mount)
                yield target
            finally:
                self._end(target)

    def _end(self, target: Path) -> None:
        """Unmount, not lazily: what was written is on disk then."""
        deadline = time.monotonic() + 20
        while mounts.is_mounted(target):
            try:
                self.unmount(target, False)
            except OSError as error:
                # A union's own work in the background may hold it a little longer, untold.
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def diff(self, name: str) -> bytes:
        out = io.BytesIO()
        self.driver.diff(name, out)
        return out.getvalue()

    def changes(self, name: str) -> list[Change]:
        return list(self.driver.changes(name))

    def clean(self) -> None:
        for target in mounts.mounts_below(self.root.parent):
            mounts.unmount(target)
        for layer in sorted(set(self.driver.layers())):
            self.driver.remove(layer)
        close = getattr(self.driver, "close", None)
        if close is not None:
            close()


def _parameters() -> list[str]:
    if _NAMED or _BASE:
        return _NAMED or known()
    return [
        *(name for name in known() if name != "btrfs"),
        "btrfs on btrfs", "overlay2 on xfs", "aufs simulated", "erofs loops", "erofs wide-loops",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def disks() -> Iterator[Callable[[str], str | None]]:
    """The directory for a kind of file system: made when first asked for; None for any."""
    with contextlib.ExitStack() as made:
        roots: dict[str, str] = {}

        def root(kind: str) -> str | None:
            if not kind:
                return _BASE
            if kind not in roots:
                roots[kind] = str(made.enter_context(loop_disk(kind, size=1 << 30)))
            return roots[kind]

        yield root


@pytest.fixture(params=_parameters())
def store(
    request: pytest.FixtureRequest,
    disks: Callable[[str], str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Store]:
    name, _, kind = request.param.partition(" on ")
    name, _, variant = name.partition(" ")
    try:
        base = disks(kind)
    except NoDisk as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="naru-driver-", dir=base) as where:
        try:
            data = Path(where) / "data"
            if variant == "simulated":
                made = _with_simulated_aufs(data, monkeypatch)
            elif variant:
                data.mkdir()
                made = Store(Erofs(data / "erofs", {}, backings=[_BACKINGS[variant]]), data)
            else:
                made = Store(choose(name, data), data)
        except NaruError as error:
            if _NAMED:
                raise
            pytest.skip(str(error))
        try:
            yield made
        finally:
            made.clean()


_BACKINGS = {"loops": LOOPS, "wide-loops": WIDE_LOOPS}


def _with_simulated_aufs(data: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    fake = FakeAufs(data.parent)
    monkeypatch.setattr(aufs, "filesystems", lambda: {"aufs"})
    monkeypatch.setattr(aufs, "mount", fake.mount)
    monkeypatch.setattr(aufs, "unmount", fake.unmount)
    store = Store(choose("aufs", data), data)
    store.mount, store.unmount = fake.mount, fake.unmount
    return store


def archive(*members: tuple[Entry, bytes]) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out)
    for entry, data in members:
        writer.add(entry, [data] if data else ())
    writer.close()
    return out.getvalue()


def file(name: str, data: bytes = b"", **attributes: object) -> tuple[Entry, bytes]:
    given = {"mtime": TIME, **attributes}
    return Entry(name, REGULAR, size=len(data), **given), data  # type: ignore[arg-type]


def folder(name: str, **attributes: object) -> tuple[Entry, bytes]:
    given = {"mode": 0o755, "mtime": TIME, **attributes}
    return Entry(name, DIRECTORY, **given), b""  # type: ignore[arg-type]


def names(tar: bytes) -> list[str]:
    return [entry.name.rstrip("/") for entry in TarReader(io.BytesIO(tar))]


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything there is to know about a tree; hard links as the first name of their inode."""
    found: dict[str, tuple[object, ...]] = {}
    paths = sorted(root.rglob("*"))
    by_inode: dict[tuple[int, int], list[str]] = {}
    for path in paths:
        inode = (path.lstat().st_dev, path.lstat().st_ino)
        by_inode.setdefault(inode, []).append(str(path.relative_to(root)))
    for path in paths:
        name, status = str(path.relative_to(root)), path.lstat()
        # Not the link count: another layer's names are no business of this tree's.
        linked = by_inode[status.st_dev, status.st_ino]
        link = linked[0] if len(linked) > 1 else ""
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns,
            xattrs, link, content,
        )  # fmt: skip
    return found


def rich_members() -> list[tuple[Entry, bytes]]:
    """One member of every kind, with attributes that are easily lost."""
    return [
        folder("etc", mode=0o711, uid=3, gid=4),
        file("etc/passwd", b"root\n", mode=0o640, uid=1000, gid=1001),
        file("etc/setuid", b"x", mode=0o4755),
        file("etc/capable", b"x", xattrs={"security.capability": _CAPABILITY, "user.k": b"v\x00w"}),
        (Entry("etc/link", SYMLINK, linkname="/absolute/target", mtime=TIME, uid=7, gid=8), b""),
        (Entry("etc/hard", HARDLINK, linkname="etc/passwd"), b""),
        folder("dev"),
        (Entry("dev/null", CHARDEV, mode=0o666, devmajor=1, devminor=3, mtime=TIME), b""),
        (Entry("dev/disk", BLOCKDEV, mode=0o660, devmajor=7, devminor=99, mtime=TIME), b""),
        (Entry("dev/pipe", FIFO, mode=0o600, mtime=TIME), b""),
        folder("sticky", mode=0o1777),
        file("sticky/" + "n" * 200, b"long name"),
        file("sticky/여보세요", b"utf-8"),
        file("empty"),
    ]


_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def test_an_applied_layer_shows_every_kind_of_file_with_its_attributes(store: Store) -> None:
    written = store.layer(A, None, *rich_members())
    links = (len(e.linkname) for e, _ in rich_members() if e.kind == SYMLINK)
    assert written == sum(len(data) for _, data in rich_members()) + sum(links)
    with store.mounted(A, read_only=True) as root:
        found = tree(root)
        assert sorted(found) == sorted(e.name for e, _ in rich_members())
        assert found["etc"][:3] == (stat.S_IFDIR | 0o711, 3, 4)
        assert found["etc/passwd"][:5] == (stat.S_IFREG | 0o640, 1000, 1001, 0, TIME)
        assert found["etc/setuid"][0] == stat.S_IFREG | 0o4755
        assert os.getxattr(root / "etc/capable", "security.capability") == _CAPABILITY
        assert os.getxattr(root / "etc/capable", "user.k") == b"v\x00w"
        assert found["etc/link"][1:3] == (7, 8)
        assert found["etc/link"][7] == "/absolute/target"
        assert found["etc/hard"][6] == found["etc/passwd"][6] == "etc/hard"
        assert found["dev/null"][3] == os.makedev(1, 3)
        assert stat.S_ISBLK(os.lstat(root / "dev/disk").st_mode)
        assert stat.S_ISFIFO(os.lstat(root / "dev/pipe").st_mode)
        assert found["sticky"][0] == stat.S_IFDIR | 0o1777
        assert found["sticky"][4] == TIME


def test_a_read_only_mount_refuses_writes(store: Store) -> None:
    store.layer(A, None, file("one"))
    store.layer(B, A, file("two"))
    for layer in (A, B):
        with (
            store.mounted(layer, read_only=True) as root,
            pytest.raises(OSError, match="Read-only"),
        ):
            (root / "three").touch()


def test_layers_stack_and_whiteouts_hide(store: Store) -> None:
    store.layer(A, None, folder("d"), file("d/gone", b"1"), file("d/kept", b"1"), file("top", b"1"))
    store.layer(B, A, folder("d"), file("d/.wh.gone"), file("d/new", b"2"), file("top", b"2"))
    store.layer(C, B, file(".wh.d"), file("after", b"3"))
    with store.mounted(B, read_only=True) as root:
        assert sorted(os.listdir(root / "d")) == ["kept", "new"]
        assert (root / "top").read_bytes() == b"2"
    with store.mounted(C, read_only=True) as root:
        assert sorted(os.listdir(root)) == ["after", "top"]
    with store.mounted(A, read_only=True) as root:  # untouched by those above
        assert sorted(os.listdir(root / "d")) == ["gone", "kept"]


def test_directories_that_an_archive_leaves_out_keep_their_attributes(store: Store) -> None:
    store.layer(
        A, None, folder("tmp", mode=0o1777, uid=5), folder("tmp/in", mode=0o700, gid=6), file("x")
    )
    store.layer(B, A, file("tmp/in/new"), file("fresh/new"))
    with store.mounted(B, read_only=True) as root:
        found = tree(root)
        assert found["tmp"][:3] == (stat.S_IFDIR | 0o1777, 5, 0)
        assert found["tmp/in"][:3] == (stat.S_IFDIR | 0o700, 0, 6)
        assert found["fresh"][:3] == (stat.S_IFDIR | 0o755, 0, 0)


@pytest.mark.parametrize("start", [8192, 8192 + 1024], ids=["at a page", "off a page"])
def test_a_sparse_file_has_its_holes_and_its_contents(store: Store, start: int) -> None:
    """Off a page it cannot be mapped from its tar, by drivers that do so."""
    regions = [(start, b"a" * 4096), (65536, b"b" * 4096), (131072, b"end")]
    size = 131072 + 3
    store.driver.create(A, None, writable=False)
    store.driver.apply(A, io.BytesIO(sparse_archive("holes", size, regions)))
    expected = bytearray(size)
    for offset, data in regions:
        expected[offset : offset + len(data)] = data
    with store.mounted(A, read_only=True) as root:
        assert (root / "holes").read_bytes() == expected


@pytest.mark.parametrize("step", [16384, 10240], ids=["at pages", "off pages"])
def test_an_old_sparse_file_of_gnu_tar_too(store: Store, tmp_path: Path, step: int) -> None:
    """Type S, which dockerd refuses; with more regions than its first header has room for."""
    size = 40 * step
    with (tmp_path / "holes").open("wb") as out:
        for number in range(30):
            out.seek(number * step)
            out.write(b"%03d " % number * 128)
        out.truncate(size)
    (tmp_path / "last").write_bytes(b"last")
    raw = ["--format=gnu", "--sparse", "--hole-detection=raw"]
    tar = subprocess.run(
        ["tar", "-C", tmp_path, *raw, "-cf", "-", "holes", "last"], capture_output=True, check=True
    ).stdout
    assert tar[156:157] == b"S"
    store.driver.create(A, None, writable=False)
    assert store.driver.apply(A, io.BytesIO(tar)) == size + len(b"last")
    with store.mounted(A, read_only=True) as root:
        assert (root / "holes").read_bytes() == (tmp_path / "holes").read_bytes()
        assert (root / "last").read_bytes() == b"last"
    if isinstance(store.driver, KeepsTars):
        assert b"".join(store.driver.tar_pieces(A)) == tar


def sparse_archive(name: str, size: int, regions: list[tuple[int, bytes]]) -> bytes:
    """One file in GNU's sparse format 1.0: its map precedes its data."""
    numbers = [len(regions), *(n for offset, data in regions for n in (offset, len(data)))]
    listed = "".join(f"{number}\n" for number in numbers).encode()
    listed += bytes(-len(listed) % 512)
    stored = listed + b"".join(data for _, data in regions)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("GNUSparseFile.0/" + name)
        member.size = len(stored)
        member.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
            "GNU.sparse.name": name, "GNU.sparse.realsize": str(size),
        }  # fmt: skip
        tar.addfile(member, io.BytesIO(stored))
    return out.getvalue()


def test_an_opaque_directory_shows_only_its_own_layer(store: Store) -> None:
    store.layer(A, None, folder("d"), file("d/old", b"1"), folder("d/sub"), file("d/sub/x"))
    store.layer(B, A, folder("d"), file("d/.wh..wh..opq"), file("d/new", b"2"))
    store.writable(C, B)
    with store.mounted(C) as root:
        assert os.listdir(root / "d") == ["new"]


def test_writes_stay_in_their_layer(store: Store) -> None:
    store.layer(A, None, folder("d"), file("d/f", b"old", mode=0o640, uid=5, gid=6))
    store.writable(B, A)
    store.writable(C, A)
    with store.mounted(B) as root:
        with open(root / "d/f", "ab") as out:
            out.write(b"+new")
        assert (root / "d/f").stat().st_uid == 5
        assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o640
    with store.mounted(B) as root:  # and survive an unmount
        assert (root / "d/f").read_bytes() == b"old+new"
    for other in (A, C):
        with store.mounted(other, read_only=other == A) as root:
            assert (root / "d/f").read_bytes() == b"old"


def test_the_root_directory_keeps_its_attributes(store: Store) -> None:
    store.layer(A, None, folder("./", mode=0o700, uid=11, gid=12), file("f"))
    store.writable(B, A)
    with store.mounted(B) as root:
        status = root.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o700, 11, 12)


def test_changes_names_what_was_added_modified_and_deleted(store: Store) -> None:
    store.layer(
        A, None,
        folder("a"), file("a/same"), file("a/edited", b"1"), file("a/gone"), folder("a/dir"),
        file("a/dir/f"), folder("b"), file("b/f"), file("top"),
    )  # fmt: skip
    store.writable(B, A)
    assert store.changes(B) == []
    with store.mounted(B) as root:
        (root / "a/edited").write_bytes(b"2")
        (root / "a/gone").unlink()
        (root / "a/new").mkdir()
        (root / "a/new/f").touch()
        (root / "a/dir/f").unlink()
        (root / "a/dir").rmdir()
        os.chmod(root / "b", 0o700)
    expected = [
        ("/a", ChangeKind.MODIFIED),
        ("/a/dir", ChangeKind.DELETED),
        ("/a/edited", ChangeKind.MODIFIED),
        ("/a/gone", ChangeKind.DELETED),
        ("/a/new", ChangeKind.ADDED),
        ("/a/new/f", ChangeKind.ADDED),
        ("/b", ChangeKind.MODIFIED),
    ]
    assert [tuple(change) for change in store.changes(B)] == expected


def test_a_change_that_keeps_size_and_time_is_seen(store: Store) -> None:
    store.layer(A, None, file("f", b"one"))
    store.writable(B, A)
    with store.mounted(B) as root:
        (root / "f").write_bytes(b"two")
        os.utime(root / "f", ns=(TIME, TIME))
    assert [tuple(change) for change in store.changes(B)] == [("/f", ChangeKind.MODIFIED)]


def test_a_directory_replaced_by_another_hides_what_it_had(store: Store) -> None:
    store.layer(A, None, folder("d"), file("d/old"), file("d/both"))
    store.writable(B, A)
    with store.mounted(B) as root:
        (root / "d/old").unlink()
        (root / "d/both").unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()
        (root / "d/both").write_bytes(b"again")
        (root / "d/new").touch()
    changes = {change.path: change.kind for change in store.changes(B)}
    assert changes["/d/old"] == ChangeKind.DELETED
    assert changes["/d/new"] == ChangeKind.ADDED
    assert changes["/d/both"] == ChangeKind.MODIFIED
    store.layer(C, A)
    store.driver.apply(C, io.BytesIO(store.diff(B)))
    with store.mounted(C, read_only=True) as root:
        assert sorted(os.listdir(root / "d")) == ["both", "new"]


def test_a_diff_applied_elsewhere_gives_the_same_tree(store: Store) -> None:
    store.layer(A, None, *rich_members(), folder("var"), file("var/del"), file("var/keep", b"k"))
    store.writable(B, A)
    with store.mounted(B) as root:
        (root / "var/del").unlink()
        (root / "etc/passwd").write_bytes(b"changed")
        (root / "empty").unlink()
        (root / "empty").mkdir()
        (root / "empty/f").write_bytes(b"now a directory")
        os.link(root / "empty/f", root / "empty/g")
        os.symlink("f", root / "empty/link")
        os.mknod(root / "dev/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.setxattr(root / "var/keep", "user.note", b"\x00\xff")
        os.utime(root / "var/keep", ns=(TIME, TIME + 1))
        (root / "sticky" / "여보세요").rename(root / "sticky" / "moved")
        os.utime(root / "sticky", ns=(TIME, TIME + 2))
    with store.mounted(B) as root:  # anew: a FUSE server may remember what is not on disk
        expected = tree(root)
    diff = store.diff(B)
    store.driver.create(C, A, writable=False)
    store.driver.apply(C, io.BytesIO(diff))
    with store.mounted(C, read_only=True) as root:
        found = tree(root)
    assert _without_broken_links(found) == _without_broken_links(expected)
    assert store.diff(B) == diff  # and the same bytes at every time


def _without_broken_links(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """A copy-up breaks hard links with the layers below on overlay, and not on copying drivers:
    both are allowed, so names that were linked below are compared by what they hold alone.
    """
    ignored = ("etc/hard", "etc/passwd")
    return {
        name: (*row[:6], None if name in ignored else row[6], row[7])
        for name, row in found.items()
        if name != "etc/hard"
    }


def test_a_diff_holds_only_what_changed(store: Store) -> None:
    store.layer(A, None, folder("d"), file("d/f", b"1"), file("big", b"x" * 100_000))
    store.writable(B, A)
    with store.mounted(B) as root:
        (root / "d/new").write_bytes(b"2")
        (root / "d/f").unlink()
    assert names(store.diff(B)) == ["d", "d/.wh.f", "d/new"] or names(store.diff(B)) == [
        "d", "d/new", "d/.wh.f",
    ]  # fmt: skip


def test_the_diff_of_a_base_layer_is_all_of_it(store: Store) -> None:
    store.layer(A, None, *rich_members())
    assert sorted(names(store.diff(A))) == sorted(e.name for e, _ in rich_members())


def test_hard_links_made_in_a_container_reach_the_diff(store: Store) -> None:
    store.layer(A, None, folder("d"))
    store.writable(B, A)
    with store.mounted(B) as root:
        (root / "d/one").write_bytes(b"x")
        os.link(root / "d/one", root / "d/two")
    entries = {e.name: e for e in TarReader(io.BytesIO(store.diff(B)))}
    assert entries["d/two"].kind == HARDLINK
    assert entries["d/two"].linkname == "d/one"


def test_usage_counts_what_the_layer_added(store: Store) -> None:
    store.layer(A, None, file("f"))
    store.writable(B, A)
    before = store.driver.usage(B)
    with store.mounted(B) as root:
        (root / "data").write_bytes(os.urandom(1 << 20))
        os.sync()
    after = store.driver.usage(B)
    assert after.bytes - before.bytes >= 1 << 20
    assert after.bytes - before.bytes < 2 << 20


@pytest.mark.slow
def test_a_hundred_and_fifty_layers(store: Store) -> None:
    layers = [f"{number:064x}" for number in range(1, 151)]
    below: str | None = None
    for number, layer in enumerate(layers):
        store.layer(layer, below, file(f"f{number}", b"%d" % number), file("last", b"%d" % number))
        below = layer
    store.writable(D, below)
    with store.mounted(D) as root:
        assert len(os.listdir(root)) == 151
        assert (root / "last").read_bytes() == b"149"
        assert (root / "f0").read_bytes() == b"0"
        (root / "f0").unlink()
    assert [tuple(change) for change in store.changes(D)] == [("/f0", ChangeKind.DELETED)]


def test_removal_is_idempotent_and_leaves_nothing(store: Store) -> None:
    home = store.root / store.driver.name
    empty = sorted(str(path) for path in home.rglob("*"))
    store.layer(A, None, *rich_members())
    store.writable(B, A)
    assert sorted(set(store.driver.layers())) == [A, B]
    for layer in (B, B, A, A, C):
        store.driver.remove(layer)
    assert list(store.driver.layers()) == []
    assert sorted(str(path) for path in home.rglob("*")) == empty


def test_a_half_made_layer_is_listed_and_removed(store: Store) -> None:
    (store.root / store.driver.name / A).mkdir()
    assert A in set(store.driver.layers())
    store.driver.remove(A)
    assert A not in set(store.driver.layers())


def test_a_broken_archive_leaves_a_layer_that_can_be_removed(store: Store) -> None:
    store.driver.create(A, None, writable=False)
    whole = archive(file("f", b"x" * 5000))
    with pytest.raises(ValueError, match="EOF"):
        store.driver.apply(A, io.BytesIO(whole[:2000]))
    store.driver.remove(A)
    store.layer(A, None, file("g"))
    with store.mounted(A, read_only=True) as root:
        assert os.listdir(root) == ["g"]


def test_a_layer_without_a_parent_can_be_written(store: Store) -> None:
    store.writable(A, None)
    with store.mounted(A) as root:
        (root / "f").write_bytes(b"x")
    assert [tuple(change) for change in store.changes(A)] == [("/f", ChangeKind.ADDED)]


def test_an_archive_cannot_leave_the_layer(store: Store) -> None:
    outside = store.root.parent / "outside"
    outside.mkdir()
    store.driver.create(A, None, writable=False)
    members = [
        (Entry("way", SYMLINK, linkname=str(outside)), b""),
        file("way/evil", b"x"),
        file("../../../../../evil2", b"x"),
    ]
    with contextlib.suppress(ValueError):
        store.driver.apply(A, io.BytesIO(archive(*members)))
    assert os.listdir(outside) == []
    assert not (store.root.parent / "evil2").exists()


def test_a_writable_layer_can_lie_on_another(store: Store) -> None:
    """As a container's does on the layer of mount points that its image's containers share."""
    store.layer(A, None, folder("etc"), file("etc/image", b"1"), file("gone"))
    store.writable(B, A)
    with store.mounted(B) as root:
        (root / "etc/hosts").touch()
        (root / "gone").unlink()
    store.writable(C, B)
    with store.mounted(C) as root:
        assert sorted(os.listdir(root / "etc")) == ["hosts", "image"]
        assert sorted(os.listdir(root)) == ["etc"]
    assert store.changes(C) == []
    with store.mounted(C) as root:
        (root / "etc/hosts").write_bytes(b"2")
    # fuse-overlayfs gives a directory that it copies up a new time, and so a change.
    changes = [tuple(change) for change in store.changes(C) if change.path != "/etc"]
    assert changes == [("/etc/hosts", ChangeKind.MODIFIED)]
    assert names(store.diff(C)) == ["etc", "etc/hosts"]


def test_two_writable_layers_can_be_mounted_at_once(store: Store) -> None:
    store.layer(A, None, file("f", b"0"))
    store.writable(B, A)
    store.writable(C, A)
    with store.mounted(B) as one, store.mounted(C) as two:
        (one / "f").write_bytes(b"1")
        (two / "f").write_bytes(b"2")
        assert (one / "f").read_bytes() == b"1"


def test_status_and_data_are_pairs_of_text(store: Store) -> None:
    store.layer(A, None, file("f"))
    for row in store.driver.status():
        assert all(isinstance(word, str) for word in row)
    data = store.driver.data(A, Path("/somewhere/merged"))
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in data.items())


# -- drivers that keep tars, and that unpack layers before their parents ---------------------------


def awkward_archive() -> bytes:
    """Names given twice (dockerd refuses them, containerd takes the last, as tar does), files behind
    links, an archive of another format, bytes past its end."""
    members = [
        *rich_members(),
        (Entry("alias", SYMLINK, linkname="etc", mtime=TIME), b""),
        file("alias/behind", b"a link" * 1000),
        file("big", os.urandom(3 << 20)),
        file("etc/passwd", b"another"),
        file("etc/passwd", b"and one more"),
        folder("sticky", mode=0o755),
        file(".wh.empty"),
        file("last", b"." * 511),
    ]
    return archive(*members) + bytes(8192) + b"trailing"


@pytest.mark.parametrize("source", ["rich", "awkward"])
def test_the_very_tar_comes_back(store: Store, source: str) -> None:
    driver = store.driver
    if not isinstance(driver, KeepsTars):
        pytest.skip("a driver that keeps no tars")
    tar = archive(*rich_members()) if source == "rich" else awkward_archive()
    driver.create(A, None, writable=False)
    driver.apply(A, io.BytesIO(tar))
    assert driver.tar_size(A) == len(tar)
    assert b"".join(driver.tar_pieces(A)) == tar


def test_a_layer_staged_before_its_parent_is_like_any_other(store: Store) -> None:
    driver = store.driver
    if not isinstance(driver, Stages):
        pytest.skip("a driver that does not stage")
    upper = archive(file("etc/added", b"new"), file(".wh.empty"), file("only/implied", b"x"))
    lower = archive(folder("", mode=0o711, uid=5), *rich_members(), folder("only", mode=0o700))
    for layer, tar in ((B, upper), (A, lower)):
        driver.create(layer, None, writable=False)
        driver.apply(layer, io.BytesIO(tar))
    driver.place(A, None)
    driver.place(B, A)
    driver.create(C, A, writable=False)
    driver.apply(C, io.BytesIO(upper))
    with store.mounted(B, read_only=True) as staged, store.mounted(C, read_only=True) as usual:
        assert tree(staged) == tree(usual)
        assert staged.stat().st_mode == usual.stat().st_mode
        assert staged.stat().st_uid == usual.stat().st_uid
    if isinstance(driver, KeepsTars):
        assert b"".join(driver.tar_pieces(B)) == upper
