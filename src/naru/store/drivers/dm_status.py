"""`docker info`'s rows of the devicemapper driver, in Docker's names and units."""

from __future__ import annotations

from naru.store.drivers.dm_pool import ThinPool


def rows(
    pool: ThinPool,
    *,
    base_size: int,
    filesystem: str,
    min_free_percent: int,
    deferred_removal: bool,
    deferred_deletion: bool,
    deleted: int,
) -> list[tuple[str, str]]:
    used, total, free, meta_used, meta_total, meta_free = pool.space()
    found = [
        ("Pool Name", pool.name),
        ("Pool Blocksize", human_size(pool.block_size)),
        ("Base Device Size", human_size(base_size)),
        ("Backing Filesystem", filesystem),
        # Device nodes are the kernel's own (devtmpfs), there at once.
        ("Udev Sync Supported", "true"),
    ]
    data, metadata = pool.files
    if data:
        found += [("Data file", data), ("Metadata file", metadata)]
    if pool.loop_root is not None:
        found += [
            ("Data loop file", str(pool.loop_root / "data")),
            ("Metadata loop file", str(pool.loop_root / "metadata")),
        ]
    return [
        *found,
        ("Data Space Used", human_size(used)),
        ("Data Space Total", human_size(total)),
        ("Data Space Available", human_size(free)),
        ("Metadata Space Used", human_size(meta_used)),
        ("Metadata Space Total", human_size(meta_total)),
        ("Metadata Space Available", human_size(meta_free)),
        ("Thin Pool Minimum Free Space", human_size(total * min_free_percent // 100)),
        ("Deferred Removal Enabled", str(deferred_removal).lower()),
        ("Deferred Deletion Enabled", str(deferred_deletion).lower()),
        ("Deferred Deleted Device Count", str(deleted)),
    ]


def human_size(size: float) -> str:
    """Four digits and a decimal unit: 10.74GB."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            return f"{size:.4g}{unit}"
        size /= 1000
    return f"{size:.4g}EB"
