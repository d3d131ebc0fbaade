"""Gzip files taken apart and made again: to the byte, whoever made them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from naru.store.compression import GzipWriter
from naru.store.deflate import work
from naru.store.deflate.analysis import Analysis, NotDeflate
from naru.store.deflate.matchers import PREDICTORS
from naru.store.deflate.notes import MAGIC, BadNotes, Note, Reader, begin
from naru.store.deflate.rebuild import rebuild

_ROOT = Path(__file__).parents[3]


class Sink:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def notes_of(file: bytes, predictor: str = "go-6") -> bytes:
    out = Sink()
    begin(out, predictor)
    Analysis(io.BytesIO(file), predictor, lambda note: out.write(note.packed())).run()
    return bytes(out.data)


def made_of(notes: bytes, plain: bytes) -> bytes:
    out = Sink()
    rebuild(Reader(io.BytesIO(notes)), io.BytesIO(plain), out)
    return bytes(out.data)


def sample(size: int, seed: int = 1) -> bytes:
    """Like a layer: text, noise, zeros, and what was there before."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randint(2, 12)) for _ in range(400)]
    out = bytearray()
    while len(out) < size:
        kind = chance.random()
        if kind < 0.6:
            out += b" ".join(chance.choices(words, k=300))
        elif kind < 0.7:
            out += chance.randbytes(chance.randint(1, 5000))
        elif kind < 0.8:
            out += bytes(chance.randint(1, 3000))
        elif out:
            start = chance.randrange(len(out))
            out += out[start : start + chance.randint(1, 9000)]
    return bytes(out[:size])


def compressed(
    pieces: list[bytes],
    level: int,
    strategy: int = 0,
    flush: int = zlib.Z_NO_FLUSH,
    memory: int = 8,
) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, 31, memory, strategy)
    out = b""
    for piece in pieces:
        out += deflate.compress(piece) + deflate.flush(flush)
    return out + deflate.flush()


datas = st.one_of(
    st.binary(max_size=3000),
    st.builds(sample, st.integers(0, 40_000), st.integers(0, 99)),
    st.builds(
        lambda part, count: part * count, st.binary(min_size=1, max_size=9), st.integers(0, 9000)
    ),
)


@settings(deadline=None, max_examples=50)
@given(
    pieces=st.lists(datas, max_size=4),
    level=st.integers(0, 9),
    strategy=st.sampled_from(
        [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]
    ),
    flush=st.sampled_from(
        [zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK, zlib.Z_PARTIAL_FLUSH]
    ),
    memory=st.integers(1, 9),
    predictor=st.sampled_from(sorted(PREDICTORS)),
)
def test_what_zlib_made(
    pieces: list[bytes], level: int, strategy: int, flush: int, memory: int, predictor: str
) -> None:
    file = compressed(pieces, level, strategy, flush, memory)
    assert made_of(notes_of(file, predictor), b"".join(pieces)) == file


@settings(deadline=None, max_examples=10)
@given(members=st.lists(st.tuples(datas, st.integers(0, 9)), min_size=1, max_size=4))
def test_several_members_with_names(members: list[tuple[bytes, int]]) -> None:
    file = b""
    for number, (data, level) in enumerate(members):
        out = io.BytesIO()
        with gzip.GzipFile(f"part{number}", "wb", level, out, number) as member:
            member.write(data)
        file += out.getvalue()
    assert made_of(notes_of(file), b"".join(data for data, _ in members)) == file


@pytest.mark.parametrize("predictor", ["go-1", "go-6", "go-9", "klauspost-5c"])
def test_what_go_made_is_predicted(predictor: str) -> None:
    """Real ones: by Go 1.19's compress/gzip, which dockerd has, and by skopeo 1.9.3."""
    file = (Path(__file__).parent / "gzip_samples" / f"{predictor}.gz").read_bytes()
    told: list[Note] = []
    Analysis(io.BytesIO(file), predictor, told.append).run()
    assert sum(note.length for note in told) == 140_006
    assert b"".join(note.corrections for note in told) == b""
    assert made_of(notes_of(file, predictor), zlib.decompress(file, 31)) == file
    assert work.best(file) == predictor


def test_what_isal_made() -> None:
    data = sample(200_000)
    out = Sink()
    writer = GzipWriter(out)
    writer.write(data)
    writer.close()
    assert made_of(notes_of(bytes(out.data)), data) == out.data


def test_megabytes_go_by_the_window() -> None:
    """The plain bytes move down in it, blocks are told of in parts, and matches are of the longest."""
    data = sample(5_000_000) + bytes(9_000_000) + sample(1_000_000, 2)
    file = compressed([data], 6)
    assert made_of(notes_of(file), data) == file
    fixed = compressed([data[:3_000_000]], 1, zlib.Z_FIXED)
    assert made_of(notes_of(fixed), data[:3_000_000]) == fixed


def test_it_means_the_same_when_it_is_not_compiled() -> None:
    """Told by the notes of three members, of which one has stored and one has fixed blocks."""
    data = sample(6_000)
    file = b"".join(compressed([data[:3000], data], level, strategy, zlib.Z_SYNC_FLUSH)
                    for level, strategy in ((6, 0), (0, 0), (9, zlib.Z_FIXED)))  # fmt: skip
    script = (
        "import sys, tests.unit.store.test_deflate as t\n"
        "file = sys.stdin.buffer.read()\n"
        "notes = t.notes_of(file)\n"
        "data = t.sample(6_000)\n"
        "assert t.made_of(notes, (data[:3000] + data) * 3) == file\n"
        "print(t.hashlib.sha256(notes).hexdigest())\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": f"{_ROOT}:{_ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], input=file, env=environment,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == hashlib.sha256(notes_of(file)).hexdigest()


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_damage_is_told_and_never_more(data: st.DataObject) -> None:
    file = bytearray(compressed([sample(30_000)], 6))
    if data.draw(st.booleans()):
        del file[data.draw(st.integers(0, len(file) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if file:
            file[data.draw(st.integers(0, len(file) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        notes = notes_of(bytes(file))
    except NotDeflate:
        return
    plain = b""
    rest = bytes(file)
    while rest:
        inflate = zlib.decompressobj(-15)
        plain += inflate.decompress(rest[10:])
        rest = inflate.unused_data[8:]
    assert made_of(notes, plain) == file


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=600),
    st.sampled_from([b"", b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"\x1f\x8b\x08\x1f\0\0\0\0\0\0"]),
)
def test_noise_is_no_gzip_file(noise: bytes, head: bytes) -> None:
    if not head + noise:
        return
    try:
        notes_of(head + noise)
    except NotDeflate:
        return
    assert zlib.decompressobj(31).decompress(head + noise) is not None


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_damaged_notes_are_told_and_never_more(data: st.DataObject) -> None:
    plain = sample(30_000)
    notes = bytearray(notes_of(compressed([plain], 6)))
    start = len(MAGIC) + len("go-6\n")
    for _ in range(data.draw(st.integers(1, 3))):
        notes[data.draw(st.integers(start, len(notes) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadNotes):
        assert made_of(bytes(notes), plain) is not None


def test_other_notes_are_refused() -> None:
    with pytest.raises(BadNotes, match="unknown notes"):
        made_of(b"something else\n", b"")
    with pytest.raises(BadNotes, match="unknown predictor"):
        made_of(MAGIC + b"nobody\n", b"")
