"""Every format of a layer is told and inflated; damage is an error, a bomb is bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc

import pytest
import zstandard

from naru.spec.errors import InvalidParameter
from naru.store.compression import GzipWriter, Inflated

DATA = b"some data " * 50_000
FORMS = {
    "": DATA,
    "gzip": gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]),
    "zstd": zstandard.compress(DATA[:1000]) + zstandard.compress(DATA[1000:]),
    "bzip2": bz2.compress(DATA),
    "xz": lzma.compress(DATA),
}


@pytest.mark.parametrize("name", FORMS)
def test_inflates(name: str) -> None:
    source = Inflated(io.BytesIO(FORMS[name]))
    assert source.format == name
    assert source.read() == DATA


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_cut_stream_is_an_error(name: str) -> None:
    with pytest.raises(InvalidParameter, match="unexpected EOF"):
        Inflated(io.BytesIO(FORMS[name][:-20])).read()


def test_damage_is_an_error() -> None:
    data = bytearray(FORMS["gzip"])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidParameter, match="gzip"):
        Inflated(io.BytesIO(bytes(data))).read()


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_bomb_takes_bounded_memory(compress) -> None:  # type: ignore[no-untyped-def]
    bomb = compress(bytes(100_000_000))
    tracemalloc.start()
    source = Inflated(io.BytesIO(bomb))
    total = 0
    while piece := source.read(1 << 20):
        total += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 100_000_000
    assert peak < 20_000_000


def test_gzip_written_is_read_and_stable() -> None:
    outputs = []
    for _ in range(2):
        out = io.BytesIO()
        writer = GzipWriter(out)
        for at in range(0, len(DATA), 7777):
            writer.write(DATA[at : at + 7777])
        writer.close()
        outputs.append(out.getvalue())
    assert gzip.decompress(outputs[0]) == DATA
    assert outputs[0] == outputs[1]
