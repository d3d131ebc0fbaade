"""erofs through loop devices, as kernels before 6.12 need it: no device outlives its use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from naru.kernel import mounts
from naru.spec.errors import Unsupported
from naru.store.drivers.erofs import Erofs
from naru.store.drivers.erofs_backing import FILES, LOOPS, WIDE_LOOPS, Backing, refusal_of

A, B = "a" * 64, "b" * 64

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(params=[LOOPS, WIDE_LOOPS], ids=["512", "4096"])
def backing(request: pytest.FixtureRequest, tmp_path: Path) -> Backing:
    found: Backing = request.param
    if refusal := refusal_of(found, tmp_path):
        pytest.skip(f"{found.words}: {refusal}")
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Backing], Erofs]]:
    yield lambda backing: Erofs(tmp_path / "erofs", {}, backings=[backing])
    for target in mounts.mounts_below(tmp_path):
        mounts.unmount(target)
    assert until(lambda: not loops(tmp_path)), loops(tmp_path)


def loops(below: Path) -> list[str]:
    """Devices that show a file there."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            shown = entry.read_text()
        except OSError:  # it may end while we look
            continue
        if shown.startswith(f"{below}/"):
            found.append(entry.parent.parent.name)
    return found


def until(true: Callable[[], object], seconds: float = 20) -> bool:
    """The kernel takes a device away a little after its last user has gone, and tells nobody."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def layer_tar(**files: bytes) -> BytesIO:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"implied/{name}")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    out.seek(0)
    return out


def shown(driver: Erofs, layer: str, where: Path) -> dict[str, bytes]:
    where.mkdir(exist_ok=True)
    for mount in driver.mounts(layer, where, read_only=True):
        mounts.mount(mount)
    found = {str(p.relative_to(where)): p.read_bytes() for p in where.rglob("*") if p.is_file()}
    mounts.unmount(where)
    return found


FILES_OF = {"small": b"x" * 100, "page": b"p" * 4096, "large": os.urandom(100_001)}


def make(driver: Erofs) -> None:
    driver.create(A, None, writable=False)
    driver.apply(A, layer_tar(**FILES_OF))
    driver.create(B, A, writable=False)
    driver.apply(B, layer_tar(more=b"m" * 5000))


def test_devices_go_with_the_mounts(
    start: Callable[[Backing], Erofs], backing: Backing, tmp_path: Path
) -> None:
    driver = start(backing)
    assert driver.mounts_slowly
    assert dict(driver.status())["Backed By"] == backing.words
    make(driver)
    found = shown(driver, B, tmp_path / "m")
    assert found == {
        **{f"implied/{n}": d for n, d in FILES_OF.items()},
        "implied/more": b"m" * 5000,
    }
    assert loops(tmp_path)
    driver.close()
    assert until(lambda: not loops(tmp_path))


@pytest.fixture
def layer(start: Callable[[Backing], Erofs], backing: Backing, tmp_path: Path) -> Path:
    """One whose driver has ended."""
    driver = start(backing)
    make(driver)
    driver.close()
    assert until(lambda: not loops(tmp_path))
    return tmp_path / "erofs" / A


def test_a_description_that_nobody_mounts_leaves_nothing(
    layer: Path, backing: Backing, tmp_path: Path
) -> None:
    plan: Sequence[mounts.Mount] | None = [backing.mount(layer)]
    assert loops(tmp_path)
    plan = None
    assert plan is None
    assert until(lambda: not loops(tmp_path))


VICTIM = """
import sys
from pathlib import Path
from naru.store.drivers import erofs_backing
backing = getattr(erofs_backing, sys.argv[1])
held = backing.mount(Path(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_kill_leaves_nothing(layer: Path, backing: Backing, tmp_path: Path) -> None:
    name = "LOOPS" if backing == LOOPS else "WIDE_LOOPS"
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, name, str(layer)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert victim.stdin is not None
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"held\n"
    assert loops(tmp_path)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdin.close()
    victim.stdout.close()
    assert until(lambda: not loops(tmp_path))


def test_images_follow_the_kernel(start: Callable[[Backing], Erofs], tmp_path: Path) -> None:
    """The disk of an older kernel is mounted by a newer one, and the other way round."""
    able = [each for each in (LOOPS, WIDE_LOOPS, FILES) if refusal_of(each, tmp_path) is None]
    if WIDE_LOOPS not in able or len(able) == 1:
        pytest.skip(f"this kernel mounts images only by {[each.words for each in able]}")
    before = start(able[0])
    make(before)
    expected = shown(before, B, tmp_path / "m")
    before.close()
    for backing in (WIDE_LOOPS, able[-1], WIDE_LOOPS, able[0]):
        driver = start(backing)
        assert shown(driver, B, tmp_path / "m") == expected
        driver.close()


def test_what_was_tried_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_mount: mounts.Mount) -> None:
        raise OSError(95, "not today")

    monkeypatch.setattr("naru.store.drivers.erofs_backing.mounts.mount", refuse)
    with pytest.raises(Unsupported, match=r"files \(Linux 6\.12\): not today.*Linux 5\.16"):
        Erofs(tmp_path / "erofs", {})
    assert until(lambda: not loops(tmp_path))
