"""What must hold after a storm: every container kept its promise, and none left anything behind."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.harness.daemon import Daemon
from tests.harness.storm import LABEL, Made, Promise, Storm

SETTLE_SECONDS = 100
VANISH_SECONDS = 60


def settle(daemon: Daemon) -> None:
    """Wait until no container runs or is about to."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while busy := containers(daemon, "running", "restarting"):
        assert time.monotonic() < deadline, [each["State"] for each in busy]
        daemon.docker("wait", *(each["Id"] for each in busy), check=False)


def containers(daemon: Daemon, *states: str) -> list[dict[str, Any]]:
    filters = [part for state in states for part in ("--filter", f"status={state}")]
    ids = daemon.docker("ps", "-aq", "--no-trunc", *filters).stdout.split()
    return json.loads(daemon.docker("inspect", *ids, check=False).stdout) if ids else []


def broken_promises(storm: Storm) -> list[str]:
    """What is wrong with the containers of a storm that has settled, a line each."""
    found = list(storm.complaints)
    present = {int(each["Config"]["Labels"][LABEL]): each for each in containers(storm.daemon)}
    for number, made in storm.made.items():
        container = present.get(number)
        if container is None:
            if made.confirmed and not made.disturbed:
                found.append(f"{made} is lost")
        elif made.removed:
            found.append(f"{made} is still there: {container['State']}")
        else:
            found += _container(storm, made, container)
    return found + list(_untold(storm.daemon))


def _container(storm: Storm, made: Made, container: Mapping[str, Any]) -> Iterator[str]:
    state, about = container["State"], f"{made}: {container['State']}"
    if state["Status"] not in ("exited", "created"):
        yield f"{about} has not settled"
    if container["HostConfig"]["AutoRemove"]:
        yield f"{about} has not removed itself"
    log = storm.daemon.docker("logs", container["Id"]).stdout
    runs = _runs(made.promise, log)
    if runs is None:
        yield f"{about} log out of order: {log!r}"
        return
    if state["Status"] == "created":
        if made.confirmed:
            yield f"{about} was started, and says that it was not"
    elif not made.disturbed and not _unseen(storm, made, container):
        if state["ExitCode"] != made.promise.code:
            yield f"{about} exit code"
        expected = 1 + (made.restarts if made.promise.code else 0)
        # A start that a kill has undone may have logged something: it does not count.
        complete = sum(run == made.promise.lines for run in runs)
        if complete < expected or (made.restarts == 0 and len(runs) != 1):
            yield f"{about} ran {runs}, not {expected} times to the end"


def _unseen(storm: Storm, made: Made, container: Mapping[str, Any]) -> bool:
    """Whether a run of it may have ended while neither supervisor nor daemon lived."""
    since, until = (_seconds(text) for text in (container["Created"], _finished(container)))
    if made.restarts == 0:
        since = until
    return any(begin <= until and since <= end for begin, end in storm.blackouts)


def _finished(container: Mapping[str, Any]) -> str:
    finished: str = container["State"]["FinishedAt"]
    return finished


def _seconds(text: str) -> float:
    """Unix time of `2026-01-02T03:04:05.123456789Z`."""
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def _runs(promise: Promise, log: str) -> list[int] | None:
    """How many lines each run has logged; None when they are not in order and whole."""
    runs: list[int] = []
    for line in log.splitlines(keepends=True):
        if line == f"{promise.number} 0\n":
            runs.append(1)
        elif runs and line == f"{promise.number} {runs[-1]}\n":
            runs[-1] += 1
        else:
            return None
    return runs


def _untold(daemon: Daemon) -> Iterator[str]:
    """Events: whoever started has died, once each."""
    count: Counter[tuple[str, str]] = Counter()
    for event in events(daemon):
        count[event["id"], event["Action"]] += 1
    for container_id in {each for each, _ in count}:
        starts, deaths = count[container_id, "start"], count[container_id, "die"]
        if starts != deaths:
            yield f"{container_id[:12]}: {starts} start events, {deaths} die events"


def events(daemon: Daemon) -> list[dict[str, Any]]:
    lines = daemon.docker(
        "events", "--since", "1", "--until", str(int(time.time()) + 1),
        "--filter", "type=container", "--format", "{{json .}}",
    ).stdout.splitlines()  # fmt: skip
    return [json.loads(line) for line in lines]


def strangers(daemon: Daemon) -> list[str]:
    """Processes in containers that do not run according to their records, and the reverse."""
    running = {each["Id"]: each["State"]["Pid"] for each in containers(daemon, "running")}
    known = {event["id"] for event in events(daemon)}
    found = []
    for pid, container_id in _contained():
        if container_id in known and container_id not in running:
            found.append(f"process {pid} of {container_id[:12]}, which does not run")
    for container_id, pid in running.items():
        if not Path(f"/proc/{pid}").exists():
            found.append(f"{container_id[:12]} runs as {pid}, which does not exist")
    return found


def _contained() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                groups = (entry / "cgroup").read_text().splitlines()
            except OSError:
                continue
            for name in {line.rpartition("/")[2] for line in groups}:
                yield int(entry.name), name


def left_over(daemon: Daemon) -> list[str]:
    """Remove every container; what of them is still there when tear-down had time to end."""
    ids = daemon.docker("ps", "-aq").stdout.split()
    if ids:
        daemon.docker("rm", "-f", "-v", *ids)
    deadline = time.monotonic() + VANISH_SECONDS
    while (left := remains(daemon)) and time.monotonic() < deadline:
        time.sleep(0.05)  # tear-down goes on behind the answer, and tells nobody when it ends
    return left


def remains(daemon: Daemon) -> list[str]:
    """What removed containers have left in the daemon's roots, in the kernel and in memory."""
    data, run = daemon.data_root, daemon.exec_root
    folders = [data / "containers"]
    folders += [
        run / name
        for name in (
            "containers", "execs", "journals", "netns", "pids", "exits", "starts", "console",
            "runtime-crun", "starts-crun", "views",
        )
    ]  # fmt: skip
    known = {event["id"] for event in events(daemon)}
    left = [str(path) for folder in folders if folder.is_dir() for path in folder.iterdir()]
    left += [
        str(path) for path in (data / "overlay2").iterdir() if path.name.split("-")[0] in known
    ]
    left += [str(link) for link in (data / "overlay2" / "l").iterdir() if not link.exists()]
    left += [str(path) for path in (data / "volumes").iterdir() if path.name != "named"]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left += [mount for mount in mounts if mount.startswith((f"{data}/", f"{run}/"))]
    links = daemon.netns.run("ip", "-o", "link").stdout.splitlines()
    left += [f"link {line.split()[1]}" for line in links if "veth" in line]
    left += [f"port {element}" for element in _published(daemon)]
    left += [f"socket {line}" for line in _listeners(daemon)]
    groups = [child for group in daemon.cgroups() for child in group.iterdir()]
    left += [str(group) for group in groups if group.is_dir()]
    return left


def crashes(daemon: Daemon) -> list[str]:
    """Errors that nobody has foreseen, from the logs of the daemon and the supervisor."""
    logs = [daemon.log, daemon.exec_root / "supervisor.log"]
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return [line.replace("\\n", "\n") for line in lines if "Traceback" in line]


def _published(daemon: Daemon) -> list[str]:
    ruleset = json.loads(daemon.netns.run("nft", "-j", "list", "ruleset").stdout or "{}")
    maps = [each["map"] for each in ruleset.get("nftables", ()) if "map" in each]
    return [str(element) for each in maps for element in each.get("elem", ())]


def _listeners(daemon: Daemon) -> list[str]:
    return daemon.netns.run("ss", "-Hltn").stdout.splitlines()


def open_files(pid: int) -> Counter[str]:
    """The descriptors of a process by kind; numbers of sockets and pipes left out.

    The records' file counts once: SQLite keeps closed descriptors for its next open, as closing
    one would give up the locks of all."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kinds[os.readlink(entry).partition("[")[0]] += 1
        except OSError:
            continue  # it was ours, of this listing
    for kind in kinds:
        if kind.endswith("/records.db"):
            assert kinds[kind] <= 3
            kinds[kind] = 1
    return kinds


def resident(pid: int) -> int:
    """Bytes of anonymous memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def until(condition: Callable[[], object], seconds: float = VANISH_SECONDS) -> None:
    """Wait for what tells nobody when it happens."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def empty(found: Callable[[], Sized], seconds: float = VANISH_SECONDS) -> None:
    """Wait until nothing is found any more."""
    deadline = time.monotonic() + seconds
    while left := found():
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def gone(pid: int) -> None:
    """Wait until a process has ended and been reaped, or is a zombie."""

    def ended() -> bool:
        try:
            return ") Z " in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True

    until(ended)
