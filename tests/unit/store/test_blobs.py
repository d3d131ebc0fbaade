"""The blob store: what has a digest is complete, what is broken is resumed or thrown away."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from naru.spec.errors import InternalError, InvalidParameter, NotFound
from naru.spec.oci import digest_of
from naru.store.blobs import BlobStore

DATA = b"0123456789" * 1000
DIGEST = digest_of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_put_and_read(blobs: BlobStore) -> None:
    assert blobs.put(DATA) == DIGEST
    assert blobs.read(DIGEST) == DATA
    assert blobs.verify(DIGEST)
    assert list(blobs.digests()) == [DIGEST]
    with pytest.raises(NotFound):
        blobs.read(digest_of(b"other"))
    with pytest.raises(InvalidParameter):
        blobs.path("sha256:../../etc/passwd")


def test_an_ingest_without_commit_leaves_nothing(blobs: BlobStore) -> None:
    with blobs.ingest() as ingest:
        ingest.write(DATA)
    with blobs.ingest() as ingest:
        ingest.write(DATA)
        with pytest.raises(InvalidParameter, match="mismatch"):
            ingest.commit(digest_of(b"other"))
    assert blobs.disk_usage() == 0


def test_a_broken_download_is_taken_up(blobs: BlobStore) -> None:
    first = blobs.download(DIGEST, len(DATA))
    first.write(DATA[:5000])
    first.fail(ConnectionError("gone"))
    first.close()
    assert not blobs.has(DIGEST)
    blobs.clean()
    second = blobs.download(DIGEST, len(DATA))
    assert second.offset == 5000
    second.write(DATA[5000:])
    second.commit()
    second.close()
    assert blobs.read(DIGEST) == DATA


def test_a_wrong_download_is_thrown_away(blobs: BlobStore) -> None:
    download = blobs.download(DIGEST, len(DATA))
    download.write(b"x" * len(DATA))
    reader = download.reader()
    with pytest.raises(InternalError, match="filesystem layer verification failed"):
        download.commit()
    assert reader.read(len(DATA)) == b"x" * len(DATA)
    with pytest.raises(InternalError):
        reader.read(1)
    with pytest.raises(InternalError, match="more than"):
        download.write(b"y")
    download.close()
    assert blobs.disk_usage() == 0


def test_a_reader_follows_the_writer(blobs: BlobStore) -> None:
    download = blobs.download(DIGEST, len(DATA))
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.append(download.reader().read()))
    thread.start()
    for at in range(0, len(DATA), 1000):
        download.write(DATA[at : at + 1000])
    download.commit()
    thread.join(10)
    download.close()
    assert seen == [DATA]


def test_sweep_spares_what_is_needed_or_leased(blobs: BlobStore) -> None:
    needed, leased, garbage = (blobs.put(text) for text in (b"a", b"b", b"c"))
    with blobs.lease([leased]):
        assert blobs.sweep([needed]) > 0
        assert set(blobs.digests()) == {needed, leased}
    assert not blobs.has(garbage)
    blobs.begin_sweep()
    blobs.sweep([needed])
    assert set(blobs.digests()) == {needed}


def test_a_damaged_document_is_not_read_and_is_replaced(blobs: BlobStore) -> None:
    blobs.put(DATA)
    blobs.path(DIGEST).write_bytes(DATA[:-1] + b"x")
    with pytest.raises(InternalError, match=f"blob {DIGEST} is damaged"):
        blobs.read(DIGEST)
    blobs.put(DATA)
    assert blobs.read(DIGEST) == DATA


def test_what_cannot_be_looked_at_is_not_there_and_in_nobodys_way(
    blobs: BlobStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a fault of the file system has it: EUCLEAN, or EIO. A link to itself fails the same."""
    lost, unneeded = digest_of(b"lost"), blobs.put(b"unneeded")
    path = tmp_path / "blobs/sha256" / lost.removeprefix("sha256:")
    path.symlink_to(path)
    stuck = tmp_path / "blobs/partial/ingest-stuck"
    stuck.mkdir()
    half = tmp_path / "blobs/partial" / ("f" * 64)
    half.symlink_to(half)
    assert not blobs.has(lost)
    blobs.clean()
    assert f"the remains of {stuck.name} are not removed" in caplog.text
    assert not half.is_symlink()
    assert blobs.sweep([]) > 0
    assert not blobs.has(unneeded)
    assert f"{lost} is not removed" in caplog.text


def test_what_becomes_needed_during_a_sweep_is_kept(blobs: BlobStore) -> None:
    """Leased when it is asked what is needed, recorded and not leased any more when swept."""
    blobs.begin_sweep()
    with blobs.lease() as lease:
        needed_then: list[str] = []
        fresh = blobs.put(b"fresh")
        lease.add(fresh)
    blobs.sweep(needed_then)
    assert set(blobs.digests()) == {fresh}
    blobs.begin_sweep()
    blobs.sweep([])
    assert set(blobs.digests()) == set()
