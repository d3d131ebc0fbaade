# ruff: noqa: ASYNC230 (a test may block its own loop)
from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import random
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from naru.engine.containers import json_lines, log_options
from naru.engine.containers.json_lines import Entry
from naru.engine.containers.log_feed import LogFeed
from naru.engine.containers.log_files import LogFiles
from naru.engine.containers.log_journal import Journal
from naru.engine.containers.log_reader import LogQuery, tail_offset
from naru.engine.containers.log_writer import LogWriter
from naru.engine.containers.logs import Logs
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig, LogConfig
from naru.spec.errors import InvalidParameter, NaruError, Unsupported


def container(log_type: str = "", **options: str) -> ContainerRecord:
    return ContainerRecord(
        id="c" * 64,
        name="web",
        created=0,
        image_id="sha256:" + "ab" * 32,
        chain_id="",
        driver="vfs",
        config=ContainerConfig(
            image="busybox", labels={"role": "db", "tier": "1"}, env=["A=1", "B=2"]
        ),
        host_config=HostConfig(
            log_config=LogConfig(
                type=log_type, config={key.replace("_", "-"): v for key, v in options.items()}
            )
        ),
        path="sh",
        args=[],
    )


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    (tmp_path / ("c" * 64)).mkdir()
    logs = Logs(containers_root=tmp_path, journal_root=tmp_path / "journal")
    yield logs
    logs.close()


class Output:
    """A pipe that a `LogWriter` reads."""

    def __init__(self, writer: LogWriter, stream: str = "stdout") -> None:
        self.read_fd, self._fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self._writer = writer
        self._stream = stream

    def __call__(self, data: bytes) -> None:
        os.write(self._fd, data)
        assert self._writer.read(self._stream, self.read_fd) == data

    def close(self, *, over: bool = True) -> None:
        os.close(self._fd)
        if over:
            assert self._writer.read(self._stream, self.read_fd) == b""
            self._writer.end(self._stream)
        os.close(self.read_fd)


def whole(entry: Entry) -> bytes:
    return entry.log.encode()


async def read(logs: Logs, record: ContainerRecord, query: LogQuery = LogQuery()) -> bytes:  # noqa: B008
    return b"".join([chunk async for chunk in logs.chunks(record, query, whole)])


async def write_lines(logs: Logs, record: ContainerRecord, lines: range) -> None:
    writer = logs.intake(record)
    assert writer is not None
    out = Output(writer)
    for number in lines:
        out(b"line %d\n" % number)
    out.close()
    writer.close(over=True)


def numbered(lines: range) -> bytes:
    return b"".join(b"line %d\n" % number for number in lines)


@pytest.mark.parametrize("tail", [0, 1, 7, 49, 50, 51, None])
async def test_tail(logs: Logs, tail: int | None) -> None:
    await write_lines(logs, container(), range(50))
    first = 0 if tail is None else max(0, 50 - tail)
    assert await read(logs, container(), LogQuery(tail=tail)) == numbered(range(first, 50))


@pytest.mark.parametrize("size", [1, 70_000, 300_000])
def test_tail_of_a_file_of_many_blocks(tmp_path: Path, size: int) -> None:
    lines = [b"x" * (size // 10) + b"%d\n" % number for number in range(10)]
    path = tmp_path / "log"
    path.write_bytes(b"".join(lines))
    with path.open("rb") as file:
        for tail in range(12):
            offset, found = tail_offset(file, path.stat().st_size, tail)
            file.seek(offset)
            assert file.read() == b"".join(lines[max(0, 10 - tail) :])
            assert found == min(tail, 10)


@pytest.mark.parametrize("compress", ["false", "true"])
async def test_rotation_keeps_max_file_files_of_max_size(
    tmp_path: Path, logs: Logs, compress: str
) -> None:
    record = container(max_size="1k", max_file="3", compress=compress)
    await write_lines(logs, record, range(100))
    logs.close()
    directory = tmp_path / record.id
    names = sorted(path.name.removeprefix(record.id) for path in directory.iterdir())
    suffix = ".gz" if compress == "true" else ""
    assert names == ["-json.log", f"-json.log.1{suffix}", f"-json.log.2{suffix}"]
    got = await read(logs, record)
    first = int(got.split(b"\n")[0].removeprefix(b"line "))
    assert got == numbered(range(first, 100))
    assert await read(logs, record, LogQuery(tail=20)) == numbered(range(80, 100))
    rotated = directory / f"{record.id}-json.log.1{suffix}"
    text = rotated.read_bytes()
    if suffix:
        text = gzip.decompress(text)
    # As dockerd: the line that reaches the limit is the file's last.
    assert 1000 <= len(text) < 1000 + 120


async def test_one_big_chunk_is_cut_at_lines_where_files_are_full(logs: Logs) -> None:
    record = container(max_size="1k", max_file="100")
    writer = logs.intake(record)
    assert writer is not None
    out = Output(writer)
    out(numbered(range(1000)))
    out.close()
    writer.close(over=True)
    assert await read(logs, record) == numbered(range(1000))


async def test_since_and_until(logs: Logs, tmp_path: Path) -> None:
    record = container()
    path = Path(logs.path(record))
    path.write_bytes(
        b"".join(
            json_lines.encode(b"at %d\n" % s, stream="stdout", at=s * 10**9, final=False).lines
            for s in range(10)
        )
    )
    query = LogQuery(since=json_lines.fixed_time(3 * 10**9), until=json_lines.fixed_time(5 * 10**9))
    assert await read(logs, record, query) == b"at 3\nat 4\nat 5\n"


async def test_follow_ends_with_the_process(logs: Logs) -> None:
    record = container()
    writer = logs.intake(record)
    assert writer is not None
    out = Output(writer)
    out(b"before\n")
    following = logs.chunks(record, LogQuery(follow=True), whole)
    assert await anext(following) == b"before\n"
    pending = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    out(b"unfin")
    out(b"ished\nlast")
    assert await asyncio.wait_for(pending, 60) == b"unfinished\n"
    out.close()
    writer.close(over=True)
    assert [chunk async for chunk in following] == [b"last"]


@pytest.mark.parametrize(("max_file", "compress"), [("1", "false"), ("5", "false"), ("5", "true")])
async def test_follow_across_rotations(logs: Logs, max_file: str, compress: str) -> None:
    record = container(max_size="1k", max_file=max_file, compress=compress)
    writer = logs.intake(record)
    assert writer is not None
    out = Output(writer)

    seen, more = bytearray(), asyncio.Event()

    async def follow() -> None:
        async for chunk in logs.chunks(record, LogQuery(follow=True), whole):
            seen.extend(chunk)
            more.set()

    following = asyncio.create_task(follow())
    for burst in range(20):
        for number in range(5 * burst, 5 * burst + 5):
            out(b"line %d\n" % number)
        # Two bursts do not rotate more often than files are kept.
        while burst % 2 and len(seen) < len(numbered(range(number + 1))):
            await asyncio.wait_for(more.wait(), 60)
            more.clear()
    out.close()
    writer.close(over=True)
    await asyncio.wait_for(following, 60)
    assert bytes(seen) == numbered(range(100))


async def test_a_stopped_container_is_not_followed(logs: Logs) -> None:
    await write_lines(logs, container(), range(3))
    assert await read(logs, container(), LogQuery(follow=True)) == numbered(range(3))


async def test_a_damaged_line_is_left_out(logs: Logs) -> None:
    await write_lines(logs, container(), range(3))
    with open(logs.path(container()), "ab") as file:
        file.write(b'{"log":"half\n')
    assert await read(logs, container()) == numbered(range(3))


async def test_none_keeps_nothing_and_cannot_be_read(logs: Logs) -> None:
    assert logs.intake(container("none")) is None
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        logs.chunks(container("none"), LogQuery(), whole)


async def test_attributes(logs: Logs) -> None:
    record = container(labels="role,absent", env_regex="^B", tag="{{.Name}}/{{ .ID }}")
    await write_lines(logs, record, range(1))
    line = json.loads(Path(logs.path(record)).read_bytes())
    assert line["attrs"] == {"role": "db", "B": "2", "tag": "web/" + "c" * 12}


@pytest.mark.parametrize(
    ("log_type", "options", "text"),
    [
        ("nonsense", {}, "logger: no log driver named 'nonsense' is registered"),
        ("syslog", {}, "the log driver syslog is not supported"),
        ("", {"bogus": "1"}, "unknown log opt 'bogus' for json-file log driver"),
        ("", {"max-size": "10x"}, "invalid suffix: 'x'"),
        ("", {"max-size": "many"}, "invalid size: 'many'"),
        ("", {"max-size": "0"}, "max-size must be a positive number"),
        ("", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("", {"compress": "true"}, "compress cannot be true when max-file is less than 2"),
        ("", {"compress": "maybe"}, 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("", {"mode": "x"}, "logger: logging mode not supported: x"),
        ("", {"tag": "{{.Nope}}"}, "{{.Nope}} is not supported"),
    ],
)
def test_bad_options_say_what_is_wrong(log_type: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(NaruError) as caught:
        log_options.check(LogConfig(type=log_type, config=options))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [("10m", 10**7), ("1k", 1000), ("2KB", 2000), ("5", 5), ("1.5mib", 1500000)]
)
def test_sizes_are_decimal(text: str, size: int) -> None:
    assert log_options.json_file({"max-size": text}).max_size == size


def test_a_bad_regex_names_itself() -> None:
    with pytest.raises(InvalidParameter, match=r"error parsing regexp.*\("):
        log_options.check(LogConfig(config={"labels-regex": "("}))


async def test_an_unfinished_line_goes_on_under_the_next_daemon(logs: Logs, tmp_path: Path) -> None:
    record = container()
    first = logs.intake(record)
    assert first is not None
    out = Output(first)
    out(b"whole\nhalf ")
    out.close(over=False)
    first.close(over=False)
    second = Logs(containers_root=tmp_path, journal_root=tmp_path / "journal")
    again = second.intake(record, resumed=True)
    assert again is not None
    out = Output(again)
    out(b"a line\n")
    out.close()
    again.close(over=True)
    assert await read(second, record) == b"whole\nhalf a line\n"
    assert list((tmp_path / "journal").iterdir()) == []
    second.close()


async def test_a_new_run_does_not_continue_the_line_of_a_former_one(logs: Logs) -> None:
    record = container()
    first = logs.intake(record)
    assert first is not None
    out = Output(first)
    out(b"half ")
    out.close(over=False)
    first.close(over=False)
    again = logs.intake(record)
    assert again is not None
    out = Output(again)
    out(b"new\n")
    out.close()
    again.close(over=True)
    lines = Path(logs.path(record)).read_bytes().splitlines()
    assert [json.loads(line)["log"] for line in lines] == ["half ", "new\n"]


class _FakeFeed(LogFeed):
    """For a process without an event loop."""

    def __init__(self) -> None:
        self.version = 0

    def written(self) -> None: ...

    def finish(self) -> None: ...


def _log_until_killed(directory: Path, fd: int, *, max_size: int | None, max_files: int) -> None:
    files = LogFiles(directory / "log", max_size=max_size, max_files=max_files)
    writer = LogWriter(files, feed=_FakeFeed(), journal=Journal(directory / "journal", "x"))
    while select.select([fd], [], []) and writer.read("stdout", fd):
        pass
    writer.end("stdout")
    writer.close(over=True)


@pytest.mark.parametrize("max_size", [None, 1_000_000])
def test_kill_9_at_any_moment_loses_nothing_and_repeats_nothing(
    tmp_path: Path, max_size: int | None
) -> None:
    """The daemon's part, in a child of its own, is killed again and again while lines arrive."""
    read_fd, write_fd = os.pipe()
    chance = random.Random(7)
    lines = [b"%d %s" % (n, b"x" * chance.choice([0, 3, 80, 17_000])) for n in range(8000)]

    def child(work: object) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                work()  # type: ignore[operator]
                os._exit(0)
            finally:
                os._exit(1)
        return pid

    def write() -> None:
        os.close(read_fd)
        rest = memoryview(b"\n".join(lines) + b"\nthe end")
        while rest:
            rest = rest[os.write(write_fd, rest[: chance.randint(1, 30_000)]) :]

    def log() -> None:
        if kills == 0:
            os.close(write_fd)
        _log_until_killed(tmp_path, read_fd, max_size=max_size, max_files=200)

    writer = child(write)
    kills = 0
    while True:
        logger = child(log)
        if kills == 0:
            os.close(write_fd)
        if kills < 40:
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(os.waitpid, logger, 0)
                try:
                    _, status = waiting.result(timeout=min(kills, 0.002 + chance.random() * 0.01))
                    assert status == 0
                    break
                except TimeoutError:
                    os.kill(logger, signal.SIGKILL)
                    kills += 1
        else:
            assert os.waitpid(logger, 0)[1] == 0
            break
    assert kills > 0
    os.waitpid(writer, 0)
    os.close(read_fd)
    files = sorted(
        tmp_path.glob("log*"), key=lambda path: -int(path.suffix[1:]) if path.suffix else 1
    )
    entries = [
        msgspec.json.decode(line, type=Entry).log.encode()
        for path in files
        for line in path.read_bytes().splitlines()
    ]
    assert b"".join(entries).split(b"\n") == [*lines, b"the end"]


def test_a_full_journal_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has no room for goes to the log all the same, in order."""
    splice, full = os.splice, False

    def maybe(*args: int, **kwargs: int) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return splice(*args, **kwargs)

    monkeypatch.setattr(os, "splice", maybe)
    read_fd, write_fd = os.pipe()
    files = LogFiles(tmp_path / "log")
    writer = LogWriter(files, feed=_FakeFeed(), journal=Journal(tmp_path / "journal", "x"))
    for text in (b"a\nb", b"c\nd", b"e", b"\nf\n"):
        full = text == b"c\nd"
        os.write(write_fd, text)
        assert writer.read("stdout", read_fd) == text
    os.write(write_fd, b"half")
    writer.read("stdout", read_fd)
    writer.close(over=False)  # the daemon ends: the next one must find the log as it is
    again = LogFiles(tmp_path / "log")
    next_one = LogWriter(again, feed=_FakeFeed(), journal=Journal(tmp_path / "journal", "x"))
    os.write(write_fd, b" more\n")
    next_one.read("stdout", read_fd)
    next_one.close(over=True)
    os.close(read_fd)
    os.close(write_fd)
    logged = [json.loads(line)["log"] for line in (tmp_path / "log").read_text().splitlines()]
    assert logged == ["a\n", "bc\n", "de\n", "f\n", "half more\n"]


def test_a_journal_killed_while_it_is_discarded_is_not_logged_again(tmp_path: Path) -> None:
    def resume() -> LogWriter:
        journal = Journal(tmp_path / "journal", "x")
        return LogWriter(LogFiles(tmp_path / "log"), feed=_FakeFeed(), journal=journal)

    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"once\n")
    first = resume()
    first.read("stdout", read_fd)
    first.close(over=False)
    (tmp_path / "journal" / "x.state").unlink()
    resume().close(over=True)
    os.close(read_fd)
    os.close(write_fd)
    assert (tmp_path / "log").read_text().count("once") == 1


def test_a_second_kill_behind_a_rotation_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def resume() -> LogWriter:
        files = LogFiles(tmp_path / "log", max_size=100, max_files=5)
        return LogWriter(files, feed=_FakeFeed(), journal=Journal(tmp_path / "journal", "x"))

    def killed_at_half(files: LogFiles, lines: bytes, **_: object) -> None:
        files.path.write_bytes(lines[: len(lines) // 2])
        raise Killed

    def killed_behind_the_rename(files: LogFiles) -> None:
        files.path.rename(tmp_path / "log.1")
        raise Killed

    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"".join(b"%d\n" % number for number in range(4)))
    first = resume()
    with monkeypatch.context() as patch:
        patch.setattr(LogFiles, "_rotate", killed_behind_the_rename)
        with pytest.raises(Killed):
            first.read("stdout", read_fd)
        patch.setattr(LogFiles, "append", killed_at_half)
        with pytest.raises(Killed):
            resume()
    for writer in (first, resume()):
        writer.close(over=False)
    os.close(read_fd)
    os.close(write_fd)
    logs = sorted(tmp_path.glob("log*"), reverse=True)
    lines = [line for log in logs for line in log.read_text().splitlines()]
    assert [json.loads(line)["log"] for line in lines] == [f"{number}\n" for number in range(4)]
