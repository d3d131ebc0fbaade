"""dm.* options: what they become, and what is refused with its name."""

from __future__ import annotations

import pytest

from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.dm_directlvm import Config
from naru.store.drivers.dm_options import parse


def test_defaults_are_dockers() -> None:
    options = parse({})
    assert options.on_loop
    assert options.loop_data_size == 100 << 30
    assert options.loop_metadata_size == 2 << 30
    assert options.block_size == 64 << 10
    assert options.min_free_percent == 10


def test_values_are_read() -> None:
    options = parse({
        "dm.thinpooldev": "/dev/mapper/vg-pool",
        "dm.basesize": "20G",
        "dm.fs": "xfs",
        "dm.mkfsarg": "-I 256 -O '^metadata_csum'",
        "dm.mountopt": "nodiscard,noatime",
        "dm.blocksize": "128k",
        "dm.use_deferred_removal": "true",
        "dm.use_deferred_deletion": "0",
        "dm.min_free_space": "5%",
        "dm.override_udev_sync_check": "true",
        "dm.blkdiscard": "false",
    })  # fmt: skip
    assert options.thin_pool == "vg-pool"
    assert not options.on_loop
    assert options.base_size == 20 << 30
    assert options.filesystem == "xfs"
    assert options.mkfs_arguments == ("-I", "256", "-O", "^metadata_csum")
    assert options.mount_options == ("nodiscard", "noatime")
    assert options.block_size == 128 << 10
    assert options.deferred_deletion is False
    assert options.min_free_percent == 5
    assert options.discard_at_removal is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dm.libdm_log_level", "3"),
        ("dm.fs", "btrfs"),
    ],
)
def test_what_naru_lacks_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Unsupported, match=name):
        parse({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dm.unheard_of", "1"),
        ("dm.blocksize", "100k"),
        ("dm.blocksize", "32k"),
        ("dm.basesize", "much"),
        ("dm.basesize", "0"),
        ("dm.min_free_space", "10"),
        ("dm.min_free_space", "100%"),
        ("dm.use_deferred_deletion", "maybe"),
        ("dm.datadev", "/dev/null"),
        ("dm.directlvm_device", "/dev/null"),
        ("dm.xfs_nospace_max_retries", "-1"),
    ],
)
def test_a_bad_value_names_its_option(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match=name.removeprefix("dm.")):
        parse({name: value})


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("naru.store.drivers.dm_options.Path.is_block_device", lambda _: True)
    return "/dev/sdb"


def test_direct_lvm_has_dockers_defaults(device: str) -> None:
    options = parse({"dm.directlvm_device": device})
    assert options.direct_lvm == Config(device, 95, 1, 80, 20)
    assert options.direct_lvm_force is False
    given = {
        "dm.directlvm_device": device, "dm.thinp_percent": "80%", "dm.thinp_metapercent": "2",
        "dm.thinp_autoextend_threshold": "70", "dm.thinp_autoextend_percent": "10",
        "dm.directlvm_device_force": "true",
    }  # fmt: skip
    assert parse(given).direct_lvm == Config(device, 80, 2, 70, 10)
    assert parse(given).direct_lvm_force is True


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"thinp_percent": "95"}, "must provide device path"),
        ({"directlvm_device_force": "true"}, "must provide device path"),
        ({"directlvm_device": "/dev/sdb", "thinp_percent": "95"}, "must set both"),
        ({"directlvm_device": "/dev/sdb", "thinp_percent": "0", "thinp_metapercent": "1"},
         "thinp_percent must be greater than 0 and less than 100"),
        ({"directlvm_device": "/dev/sdb", "thinp_percent": "98", "thinp_metapercent": "3"},
         "must not be greater than 100"),
        ({"directlvm_device": "/dev/sdb", "thinpooldev": "pool"}, "cannot setup direct-lvm"),
        ({"use_deferred_removal": "false", "use_deferred_deletion": "true"},
         "Deferred deletion can not be enabled"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("device")
def test_what_contradicts_itself_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidParameter, match=why):
        parse({f"dm.{name}": value for name, value in given.items()})


def test_without_deferred_removal_there_is_no_deferred_deletion() -> None:
    options = parse({"dm.use_deferred_removal": "false"})
    assert options.deferred_removal is False
    assert options.deferred_deletion is False
