"""Pulls from registries that break, lie, refuse, or are somewhere else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.registry import access
from naru.registry.credentials import Credentials
from naru.spec.errors import InternalError, NaruError, NotFound
from naru.spec.oci import parse_platform
from naru.spec.reference import parse
from tests.system.images.archives import collect
from tests.system.images.conftest import Images
from tests.system.images.flaky import Answer, Asked, FlakyRegistry


@pytest.fixture
async def flaky(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FlakyRegistry]:
    monkeypatch.setattr(access, "_FIRST_PAUSE", 0.001)
    registry = FlakyRegistry()
    await registry.start()
    yield registry
    await registry.stop()


async def pull(images: Images, flaky: FlakyRegistry, **how: object) -> list[dict[str, object]]:
    return await collect(images.puller.pull(parse(f"{flaky.host}/image:1"), **how))  # type: ignore[arg-type]


def is_clean(images: Images) -> bool:
    no_records = not images.records.images.values() and not images.records.layers.values()
    return no_records and not list(images.blobs.digests())


async def test_an_index_leads_to_our_platform(images: Images, flaky: FlakyRegistry) -> None:
    told = await pull(images, flaky)
    assert told[-2] == {"status": f"Digest: {flaky.digest}"}
    image = images.library.find(f"{flaky.host}/image@{flaky.digest}")
    assert image.index == flaky.digest
    assert set(images.blobs.digests()) == images.library.sweeper.needed_blobs()
    with pytest.raises(NotFound, match="no matching manifest for linux/arm64 in the manifest list"):
        await pull(images, flaky, platform=parse_platform("linux/arm64"))


async def test_a_broken_download_is_resumed(images: Images, flaky: FlakyRegistry) -> None:
    broken = 0

    def spoil(asked: Asked, answer: Answer) -> Answer:
        nonlocal broken
        if flaky.layers[0] in asked.path and broken < 4:
            broken += 1
            return Answer(answer.status, answer.body, cut=1500)
        return answer

    flaky.spoil = spoil
    await pull(images, flaky)
    ranges = [a.headers.get("range") for a in flaky.asked if flaky.layers[0] in a.path]
    assert ranges == [None, *(f"bytes={1500 * n}-" for n in (1, 2, 3, 4))]


async def test_a_registry_without_ranges(images: Images, flaky: FlakyRegistry) -> None:
    def spoil(asked: Asked, answer: Answer) -> Answer:
        if flaky.layers[0] not in asked.path:
            return answer
        whole = flaky.blobs[flaky.layers[0]]
        return Answer(body=whole, cut=5000 if "range" not in asked.headers else None)

    flaky.spoil = spoil
    await pull(images, flaky)
    assert len(images.records.layers) == 2


async def test_a_busy_registry_is_asked_again(images: Images, flaky: FlakyRegistry) -> None:
    def spoil(asked: Asked, answer: Answer) -> Answer:
        first = flaky.counts[asked.path] == 1
        return Answer(503 if "blobs" in asked.path else 429) if first else answer

    flaky.spoil = spoil
    await pull(images, flaky)


@pytest.mark.parametrize("what", ["bytes", "size", "missing", "tar"])
async def test_a_lying_registry_leaves_nothing(
    images: Images, flaky: FlakyRegistry, what: str
) -> None:
    def spoil(asked: Asked, answer: Answer) -> Answer:
        if flaky.layers[1] not in asked.path:
            return answer
        match what:
            case "bytes":
                return Answer(body=answer.body[:-1] + b"!")
            case "size":
                return Answer(body=answer.body + b"more")
            case "missing":
                return Answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"unknown"}]}')
        return Answer(body=b"x" * len(answer.body))

    flaky.spoil = spoil
    with pytest.raises(NaruError) as caught:
        await pull(images, flaky)
    await images.tasks.settled()
    if what in ("bytes", "tar"):
        assert isinstance(caught.value, InternalError)
        assert "filesystem layer verification failed for digest" in str(caught.value)
    await images.library.sweeper.sweep()
    assert is_clean(images)
    flaky.spoil = lambda _, answer: answer
    await pull(images, flaky)


async def test_a_manifest_with_another_digest_is_refused(
    images: Images, flaky: FlakyRegistry
) -> None:
    flaky.spoil = lambda asked, answer: (
        Answer(body=answer.body + b" ") if re.search("manifests/sha256", asked.path) else answer
    )
    with pytest.raises(InternalError, match="manifest verification failed for digest"):
        await pull(images, flaky)
    assert is_clean(images)


async def test_bearer_tokens(images: Images, flaky: FlakyRegistry) -> None:
    flaky.bearer, flaky.password = "secret-token", "pw"
    with pytest.raises(NaruError, match=r"denied: incorrect username or password|unauthorized"):
        await pull(images, flaky)
    await pull(images, flaky, credentials=Credentials("me", "pw"))
    scopes = [a.path for a in flaky.asked if a.path.startswith("/token")]
    assert scopes[-1].endswith("scope=repository:image:pull&account=me")
    assert len(scopes) == 2  # one refused, one for the whole pull


async def test_mirrors_of_any_registry(flaky: FlakyRegistry, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    mirrors = (f"origin.invalid=http://{flaky.host}", f"http://{flaky.host}")
    images = await Images(tmp_path / "root", mirrors).open()
    try:
        credentials = Credentials("me", "pw")
        for name in ("origin.invalid/image:1", "docker.io/library/image:1"):
            told = await collect(images.puller.pull(parse(name), credentials=credentials))
            assert told[-1]["status"].endswith(f"image for {parse(name).familiar}")
        assert not any("authorization" in asked.headers for asked in flaky.asked)
    finally:
        await images.close()


async def test_whoever_hangs_up_does_not_end_the_pull(images: Images, flaky: FlakyRegistry) -> None:
    watching = images.puller.pull(parse(f"{flaky.host}/image:1"))
    await anext(watching)
    await watching.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(images.tasks.settled(), 30)
    assert len(images.records.images) == 1
