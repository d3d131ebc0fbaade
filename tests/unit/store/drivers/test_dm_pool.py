"""What a thin pool says of itself, and how `docker info` shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.store.drivers import dm_records
from naru.store.drivers.dm_pool import parse_status
from naru.store.drivers.dm_records import BaseRecord, DeviceRecord
from naru.store.drivers.dm_status import human_size


def test_a_status_line_is_taken_apart() -> None:
    line = "1 143/524288 381/1638400 - rw discard_passdown error_if_no_space - 1024"
    status = parse_status(line)
    assert status.transaction == 1
    assert (status.used_metadata, status.total_metadata) == (143, 524288)
    assert (status.used_data, status.total_data) == (381, 1638400)
    assert status.mode == "rw"
    assert not status.needs_check


def test_a_pool_in_need_of_a_check_is_seen() -> None:
    line = "3 5/100 7/100 12 ro no_discard_passdown queue_if_no_space needs_check 1024"
    status = parse_status(line)
    assert (status.mode, status.needs_check) == ("ro", True)


@pytest.mark.parametrize("line", ["Fail", "Error", ""])
def test_a_failed_pool_is_an_error(line: str) -> None:
    with pytest.raises(OSError, match="failed"):
        parse_status(line)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (65536, "65.54kB"), (10 << 30, "10.74GB"), (2 << 40, "2.199TB"), (999, "999B")],
)
def test_sizes_are_written_as_dockers(size: int, text: str) -> None:
    assert human_size(size) == text


def test_records_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "layer" / "device"
    assert dm_records.read_device(path) is None
    path.parent.mkdir()
    record = DeviceRecord(7, 10 << 30, True, "a" * 64)
    dm_records.write(path, record)
    assert dm_records.read_device(path) == record
    assert [entry.name for entry in path.parent.iterdir()] == ["device"]
    dm_records.erase(path)
    dm_records.erase(path)
    assert dm_records.read_device(path) is None


def test_the_base_record_keeps_whether_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "base"
    dm_records.write(path, BaseRecord(1, 1 << 30, "ext4"))
    found = dm_records.read_base(path)
    assert found is not None
    assert not found.made
