"""What a check makes of findings: found, repaired, left; and what a repair has brought about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from naru.engine.check.blobs import BlobInspection
from naru.engine.check.check import Check
from naru.engine.check.finding import Finding
from naru.engine.check.migration import MigrationInspection
from naru.engine.images.library import Library
from naru.spec.errors import InternalError
from naru.spec.images import BlobRecord
from naru.spec.oci import digest_of
from naru.spec.storage import MigrationRecord
from naru.store.blobs import BlobStore
from naru.store.layers import LayerStore
from naru.store.records import Records, put


class World:
    """Things by name, and how each can be repaired."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {"plain": "yes", "stubborn": "fails", "lost": "no"}
        self.hidden: set[str] = set()  # what only verification finds
        self.verified = 0

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        self.verified += verify
        for name, way in list(self.wrong.items()):
            if name in self.hidden and not verify:
                continue

            async def repair(name: str = name, way: str = way) -> None:
                if way == "fails":
                    raise InternalError("it is busy")
                del self.wrong[name]
                if way == "takes the part":
                    del self.wrong["part"]
                if way == "leads on":
                    self.wrong["next"] = "no"

            yield Finding("kind", name, "is wrong", None if way == "no" else repair, "do it")


async def states(world: World, **options: bool) -> dict[str, str]:
    check = Check(inspections=[world])
    return {problem.what: problem.state async for problem in check.run(**options)}


async def test_without_repair_nothing_is_touched() -> None:
    world = World()
    assert await states(world) == {"plain": "found", "stubborn": "found", "lost": "left"}
    assert len(world.wrong) == 3
    assert not world.verified


async def test_what_a_repair_leaves_is_told_once() -> None:
    world = World()
    check = Check(inspections=[world])
    problems = [problem async for problem in check.run(repair=True, verify=True)]
    assert [(each.what, each.state) for each in problems] == [
        ("plain", "repaired"), ("stubborn", "left"), ("lost", "left"),
    ]  # fmt: skip
    assert "it is busy" in problems[1].text
    assert world.verified == 1


async def test_what_only_verification_finds_is_left_when_something_else_is_repaired() -> None:
    world = World()
    world.hidden = {"lost"}
    assert await states(world, repair=True, verify=True) == {
        "plain": "repaired", "stubborn": "left", "lost": "left",
    }  # fmt: skip
    assert await states(world, repair=True) == {"stubborn": "left"}


async def test_what_a_repair_took_with_it_is_not_left() -> None:
    world = World()
    world.wrong = {"part": "no", "whole": "takes the part"}
    world.hidden = {"part"}
    assert await states(world, repair=True, verify=True) == {"whole": "repaired"}


async def test_what_a_repair_brings_about_is_told() -> None:
    world = World()
    world.wrong = {"cause": "leads on"}
    assert await states(world, repair=True) == {"cause": "repaired", "next": "left"}


async def test_blobs(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    blobs = BlobStore(tmp_path / "blobs", fsync=False)

    class Nothing:
        name = "nothing"

        def layers(self) -> list[str]:
            return []

    layers = LayerStore(
        root=tmp_path, records=records, driver=Nothing(), run_root=tmp_path,  # type: ignore[arg-type]
    )  # fmt: skip
    library = Library(records=records, blobs=blobs, layers=layers)
    check = Check(inspections=[BlobInspection(library=library)])

    async def kinds(*, repair: bool = False) -> list[str]:
        return [problem.kind async for problem in check.run(repair=repair)]

    orphan, leased, spared = (blobs.put(data) for data in (b"orphan", b"leased", b"spared"))
    gone = digest_of(b"gone")
    await records.commit(put(records.blobs, BlobRecord(id=gone, size=4, media_type="x")))
    (tmp_path / "blobs/partial/ingest-old").write_bytes(b"half")
    blobs.spare([spared])
    with blobs.lease([leased]), blobs.ingest() as growing:
        growing.write(b"still coming")
        assert await kinds() == ["half-done", "orphan-blob", "missing-blob"]
        assert await kinds(repair=True) == ["half-done", "orphan-blob"]
        assert await kinds() == []
        assert not blobs.has(orphan)
        assert blobs.has(leased)
        growing.commit()
    assert sorted(await kinds()) == ["orphan-blob", "orphan-blob"]
    await layers.close()
    await records.close()


async def test_a_migration_that_waits(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    busy = False
    check = Check(inspections=[MigrationInspection(records=records, under_way=lambda: busy)])

    async def told(*, repair: bool = False) -> list[str]:
        return [f"{each.state}: {each.text}" async for each in check.run(repair=repair)]

    assert await told() == []
    pending = MigrationRecord(source="overlay2", target="vfs")
    await records.commit(put(records.migrations, pending))
    text = "left: from overlay2, interrupted: overlay2 is in use"
    assert await told() == await told(repair=True) == [text]
    busy = True
    assert await told() == []
    busy = False
    switched = msgspec.structs.replace(pending, switched=True)
    await records.commit(put(records.migrations, switched))
    assert await told() == ["left: vfs is in use, and what was in overlay2 not all removed"]
    await records.close()
