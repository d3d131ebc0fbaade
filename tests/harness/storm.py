"""A storm of docker commands against one narud, and the kills that hit it meanwhile.

Every container's command says what it will log and how it will end, so that afterwards each one
can be held to its word. All that chance decides comes from the seed; only the timing does not.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.harness.daemon import Daemon

WORKERS = 3
TAKEN_OVER = b"is in charge"
LABEL = "storm"
"""Holds the promise's number: names change, this does not."""


@dataclass(frozen=True)
class Promise:
    """What a container's command does when nobody stops it."""

    number: int
    lines: int
    pause: float
    code: int

    @property
    def script(self) -> str:
        lines = (f"echo {self.number} {line}; sleep {self.pause}; " for line in range(self.lines))
        return f"{''.join(lines)}exit {self.code}"

    @property
    def log(self) -> str:
        return "".join(f"{self.number} {line}\n" for line in range(self.lines))


@dataclass
class Made:
    """A container of the storm, as its client knows it."""

    name: str
    promise: Promise
    restarts: int = 0
    """The limit of its restart policy."""
    confirmed: bool = False
    """The client has been told that it was started."""
    disturbed: bool = False
    """Stopped or removed by somebody: it need not come to its own end."""
    removed: bool = False
    """The client has been told that it is gone."""


@dataclass
class Storm:
    """Give each of some clients a number of commands; kills come by the commands' progress, so
    that a slow machine has no more of them than a quick one."""

    daemon: Daemon
    seed: int
    rounds: int
    made: dict[int, Made] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    deaths: int = 0
    blackouts: list[tuple[float, float]] = field(default_factory=list)
    up: threading.Event = field(default_factory=threading.Event)
    """Cleared while there is no daemon: commands that fail at once would be over too soon."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._answered = 0
        self._progress = threading.Condition()
        self._unsupervised = 0.0
        self._log_then = 0
        self._thread = threading.Thread(target=self._run)

    def start(self) -> Storm:
        self.up.set()
        self._thread.start()
        return self

    def kill(self, strike: Callable[[Daemon], None], *, victims: str) -> None:
        """`strike` kills the daemon, the supervisor or both."""
        self.deaths += 1
        self.up.clear()
        if victims != "daemon" and self._supervised():
            self._unsupervised, self._log_then = time.time(), self.daemon.log.stat().st_size
        supervised = self._supervised()
        strike(self.daemon)
        # A daemon that dies before it has replaced the supervisor leaves nobody who could see how
        # a container ends.
        if victims != "supervisor" and not supervised:
            self.blackouts.append((self._unsupervised, time.time()))
        self.up.set()

    def _supervised(self) -> bool:
        """Whether the daemon has said, since the supervisor's last death, that there is another."""
        with self.daemon.log.open("rb") as log:
            log.seek(self._log_then)
            return TAKEN_OVER in log.read()

    def goes_on(self, commands: int) -> bool:
        """Wait until so many more commands were answered -> False when none is left to come."""
        with self._progress:
            due = self._answered + commands
            self._progress.wait_for(lambda: self._answered >= min(due, self._all))
            return self._answered < self._all

    def join(self) -> None:
        self._thread.join()

    @property
    def _all(self) -> int:
        return self.rounds // WORKERS * WORKERS

    def _run(self) -> None:
        each = self.rounds // WORKERS
        clients = [
            threading.Thread(target=self._client, args=(random.Random(f"{self.seed}/{n}"), each))
            for n in range(WORKERS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _client(self, chance: random.Random, rounds: int) -> None:
        verbs: list[Callable[[random.Random], None]] = [
            self._detached, self._detached, self._detached, self._restarting, self._passing,
            self._passing, self._stop, self._remove, self._rename, self._exec,
        ]  # fmt: skip
        for _ in range(rounds):
            self.up.wait()
            try:
                chance.choice(verbs)(chance)
            except subprocess.TimeoutExpired as error:
                self.complaints.append(f"no answer: {' '.join(error.cmd[3:])}")
            finally:
                with self._progress:
                    self._answered += 1
                    self._progress.notify()

    def _new(self, chance: random.Random, *, restarts: int = 0) -> Made:
        with self._lock:
            number = next(self._numbers)
            promise = Promise(
                number,
                lines=chance.randrange(1, 6),
                pause=chance.choice((0, 0, 0.05, 0.2)),
                code=chance.randrange(4),
            )
            self.made[number] = made = Made(f"s{number}", promise, restarts)
        return made

    def _some(self, chance: random.Random) -> Made | None:
        with self._lock:
            there = [made for made in self.made.values() if not made.removed]
            return chance.choice(there) if there else None

    def _docker(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.daemon.docker(*argv, check=False, timeout=120)

    def _launch(self, made: Made, *options: str) -> subprocess.CompletedProcess[str]:
        label = f"{LABEL}={made.promise.number}"
        return self._docker(
            "run", "--name", made.name, "--label", label, *options,
            "busybox", "sh", "-c", made.promise.script,
        )  # fmt: skip

    def _detached(self, chance: random.Random) -> None:
        options = ["-d"]
        if chance.random() < 0.7:
            options += ["-p", "80"]
        if chance.random() < 0.3:
            options += ["-v", "/anonymous"]
        if chance.random() < 0.2:
            options += ["-v", "named:/named"]
        made = self._new(chance)
        made.confirmed = self._launch(made, *options).returncode == 0

    def _restarting(self, chance: random.Random) -> None:
        made = self._new(chance, restarts=2)
        made.confirmed = self._launch(made, "-d", "--restart", "on-failure:2").returncode == 0

    def _passing(self, chance: random.Random) -> None:
        made = self._new(chance)
        deaths = self.deaths
        answer = self._launch(made, "--rm")
        calm = self.deaths == deaths and not made.disturbed
        if calm and answer.returncode != 125:
            if (answer.stdout, answer.returncode) != (made.promise.log, made.promise.code):
                self.complaints.append(f"run --rm answered {answer} for {made}")
            made.removed = True

    def _stop(self, chance: random.Random) -> None:
        if (made := self._some(chance)) is not None:
            made.disturbed = True
            self._docker("stop", "-t", "0", made.name)

    def _remove(self, chance: random.Random) -> None:
        if (made := self._some(chance)) is not None:
            made.disturbed = True
            answer = self._docker("rm", "-f", "-v", made.name)
            # `rm -f` of what is not there (not yet, or under another name) succeeds, too.
            made.removed = answer.returncode == 0 and "No such container" not in answer.stderr

    def _rename(self, chance: random.Random) -> None:
        if (made := self._some(chance)) is not None:
            new = f"{made.name}r"
            if self._docker("rename", made.name, new).returncode == 0:
                made.name = new

    def _exec(self, chance: random.Random) -> None:
        if (made := self._some(chance)) is not None:
            self._docker("exec", made.name, "echo", "within")
