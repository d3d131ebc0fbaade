"""Reading the mount table, and what an option means."""

from __future__ import annotations

from pathlib import Path

from naru.kernel.mount_options import MS_BIND, MS_RDONLY, parse_options
from naru.kernel.mount_table import mount_table, parse_mountinfo
from naru.kernel.mounts import is_mounted


def test_a_line_of_mountinfo() -> None:
    line = (
        r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:7 - ext3 /dev/r\134oot rw,errors=x"
    )
    found = parse_mountinfo(line)
    assert (found.id, found.parent, found.device, found.root) == (36, 35, "98:0", "/mnt1")
    assert found.target == "/mnt 2"
    assert found.fields == ("master:1", "shared:7")
    assert (found.type, found.source, found.super_options) == ("ext3", r"/dev/r\oot", "rw,errors=x")


def test_a_line_without_optional_fields() -> None:
    found = parse_mountinfo("1 0 0:1 / /여 ro - tmpfs none rw")
    assert found.fields == ()
    assert found.target == "/여"


def test_an_escape_of_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(b"1 0 0:1 / /a\xff\\012b rw - tmpfs none rw\n")
    assert mount_table(table)[0].target == "/a\udcff\nb"


def test_options() -> None:
    parsed = parse_options(["ro", "bind", "rw", "ro", "rslave", "lowerdir+=/a", "size=1m", "x"])
    assert parsed.flags == MS_BIND | MS_RDONLY
    assert parsed.lowers == ["/a"]
    assert parsed.data == ["size=1m", "x"]
    assert len(parsed.propagation) == 1


def test_is_mounted(tmp_path: Path) -> None:
    assert is_mounted(Path("/proc"))
    assert not is_mounted(tmp_path)
    assert not is_mounted(tmp_path / "missing")
