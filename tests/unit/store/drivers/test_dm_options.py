"""dm.* options: what they become, and what is refused with its name."""

from __future__ import annotations

import pytest

from naru.spec.errors import InvalidParameter, Unsupported
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
        ("dm.directlvm_device", "/dev/sdb"),
        ("dm.thinp_percent", "95"),
        ("dm.thinp_metapercent", "1"),
        ("dm.thinp_autoextend_threshold", "80"),
        ("dm.directlvm_device_force", "true"),
        ("dm.xfs_nospace_max_retries", "0"),
        ("dm.libdm_log_level", "3"),
        ("dm.use_deferred_removal", "false"),
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
    ],
)
def test_a_bad_value_names_its_option(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match=name.removeprefix("dm.")):
        parse({name: value})


def test_a_pool_is_on_one_kind_of_device_only() -> None:
    with pytest.raises(Unsupported, match=r"dm\.directlvm_device"):
        parse({"dm.thinpooldev": "pool", "dm.directlvm_device": "/dev/sdb"})
