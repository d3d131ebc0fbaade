"""How the Engine API shows a volume."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from naru.spec.volumes import VolumeRecord


def encode_volume(record: VolumeRecord) -> dict[str, Any]:
    """`Volume` of the API; labels and options that were never given are null, as dockerd's are."""
    created = datetime.fromtimestamp(record.created // 1_000_000_000, UTC)
    return {
        "CreatedAt": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Driver": record.driver,
        "Labels": record.labels or None,
        "Mountpoint": record.mountpoint,
        "Name": record.name,
        "Options": record.options or None,
        "Scope": "local",
    }
