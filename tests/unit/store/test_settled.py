from __future__ import annotations

from pathlib import Path

import pytest

from naru.spec.errors import Unsupported
from naru.spec.layers import LayerRecord
from naru.spec.storage import MigrationRecord
from naru.store.records import Records, put
from naru.store.settled import settled


def layer(driver: str) -> LayerRecord:
    return LayerRecord(
        chain_id="a", diff_id="a", parent=None, driver=driver, storage_id="a", size=0, created=0
    )


async def test_what_a_start_may_ask_for(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    try:
        assert settled(records, "") == ""
        assert settled(records, "vfs") == "vfs"
        await records.commit(put(records.layers, layer("overlay2")))
        # The automatic choice finds what is there by itself.
        assert settled(records, "") == ""
        assert settled(records, "overlay2") == "overlay2"
        with pytest.raises(Unsupported, match="are in that of overlay2: take the option"):
            settled(records, "vfs")
        # In the middle of a migration both drivers have layers.
        pending = MigrationRecord(source="overlay2", target="vfs")
        await records.commit(put(records.migrations, pending))
        assert settled(records, "") == "overlay2"
        switched = MigrationRecord(source="overlay2", target="vfs", switched=True)
        await records.commit(put(records.migrations, switched), put(records.layers, layer("vfs")))
        assert settled(records, "") == "vfs"
        with pytest.raises(Unsupported, match="are in that of vfs"):
            settled(records, "overlay2")
    finally:
        await records.close()
