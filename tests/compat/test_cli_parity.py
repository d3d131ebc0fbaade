"""`naru` beside docker's own client, on one server: the same requests, the same words.

The server is a private dockerd, so that what is compared is the clients alone; without dockerd or
docker the tests are skipped.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from bench.dockerd import DOCKERD, Dockerd
from tests.harness.aftermath import until
from tests.unit.cli.recorder import Recorder

TREE = json.loads((Path(__file__).parents[1] / "unit" / "cli" / "image_tree.json").read_text())
NARU = [sys.executable, "-m", "naru.cli.main"]
DOCKER = ["docker"]
BODIES = json.loads((Path(__file__).parents[1] / "unit" / "cli" / "create_bodies.json").read_text())

pytestmark = pytest.mark.skipif(
    not (shutil.which("docker") and os.access(DOCKERD, os.X_OK) and os.geteuid() == 0),
    reason="needs docker, dockerd and root",
)


# Two calls can fall into two seconds; a table's padding depends on how long the age is.
_AGE = re.compile(
    r" *(?:Up )?(?:Less than a second|About a minute|\d+ (?:seconds?|minutes))(?: ago)? *"
)

_HEAD = re.compile(r"(CREATED|STATUS) +")
"""Column heads above ages, with their padding."""


def call(client: list[str], host: str, argv: str) -> tuple[str, str, int]:
    done = subprocess.run(
        [*client, *shlex.split(argv)],
        env={**os.environ, "DOCKER_HOST": host, "NARU_HOST": host},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    names = {"docker": "naru", "Docker": "Naru"}
    out, err = done.stdout, done.stderr
    for ours, theirs in ((v, k) for k, v in names.items()):
        out, err = out.replace(theirs, ours), err.replace(theirs, ours)
    aged, ages = _AGE.subn(" AGE ", out)
    if ages:
        aged = _HEAD.sub(r"\1 ", aged)
    return aged, err, done.returncode


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A dockerd on private roots, with busybox and a container that runs."""
    server = Dockerd("--bridge=none", "--iptables=false", "--storage-driver", "vfs")
    try:
        server.start()
        server.docker("import", "-", "busybox:latest", input=_busybox())
        script = "echo out; sleep 600"
        server.docker("run", "-d", "--name", "c1", "-l", "a=b", "busybox", "sh", "-c", script)
        until(lambda: server.docker("logs", "c1") == "out\n")
        yield server.host
    finally:
        server.stop()


def _busybox() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "sleep", "echo", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()


SAME = """
ps -a --no-trunc
ps -q
ps -s
ps --format json
ps --format '{{.ID}}: {{.Names}} {{.Label "a"}}'
ps --format 'table {{.Names}}\\t{{.Label "com.a"}}'
ps --format '{{.Foo}}'
ps --format '{{.Foo'
ps -f name=c1
ps -f foo
ps x
ps -Z
images
images --digests
images --format json
images --format '{{.Foo}}'
images --format '{{.Foo'
images --tree
inspect c1
inspect busybox
inspect nope
inspect c1 nope
inspect -f '{{.State.Status}} {{.Config.Env}} {{.HostConfig.Binds}} {{.Mounts}}' c1
inspect -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}' c1
inspect -f '{{.Foo}}' c1
inspect --type image c1
image inspect nope
history busybox
history --format json busybox
history --format '{{.Foo}}' busybox
search
search a b
search --limit x a
search -f x a
search --limit 200 a
logs c1
logs --since foo c1
top c1
port c1
port c1 80
diff c1
volume ls
volume ls --format '{{.Foo'
volume rm nope
network ls
network ls --format '{{.Foo}}'
network inspect nope
network rm nope
network connect nope nope
system df
events --since foo
rm
rm nope nope2
stop nope
start nope
kill -s FOO c1
wait nope
rename a
rename nope b
update c1
tag nope a
rmi nope
load -i /nope
import /nope
export nope
commit nope
pull busy/A
cp a b
cp a:/x b:/y
cp nope:/x .
cp c1:/nope /tmp
run
run --foo
run -m abc x
run --memory
run -d -a stdout busybox
run -it busybox
run --rm -p abc busybox
run --rm --network none busybox nonesuch
run --rm --network none busybox sh -c 'echo a; echo b >&2; exit 7'
attach nope
exec nope ls
foo
container foo
--foo ps
-x
-H a -H b ps
-H unix:///nope ps
container prune
"""


@pytest.mark.parametrize("argv", [line for line in SAME.split("\n") if line])
def test_says_the_same(host: str, argv: str) -> None:
    assert call(NARU, host, argv) == call(DOCKER, host, argv)


@pytest.mark.parametrize("client", [NARU, DOCKER], ids=["naru", "docker"])
def test_a_terminal_session(host: str, client: list[str]) -> None:
    env = {**os.environ, "DOCKER_HOST": host, "NARU_HOST": host}
    program, *before = client
    script = "run -it --name tty --rm --network none busybox sh"
    shell = pexpect.spawn(program, [*before, *script.split()], env=env, timeout=60)
    shell.expect("#")
    shell.send("echo a$((1+1))\r")
    shell.expect("a2")
    shell.send("\x10\x11")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0
    again = pexpect.spawn(program, [*before, "attach", "tty"], env=env, timeout=60)
    again.send("exit 9\r")
    again.expect(pexpect.EOF)
    again.close()
    assert again.exitstatus == 9


def test_stdin_reaches_its_end(host: str) -> None:
    for client in (NARU, DOCKER):
        done = subprocess.run(
            [*client, "run", "-i", "--rm", "--network", "none", "busybox", "busybox", "wc", "-c"],
            env={**os.environ, "DOCKER_HOST": host, "NARU_HOST": host},
            input=b"x" * 300_000,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == b"300000\n"


@pytest.mark.parametrize("case", BODIES, ids=lambda case: case["argv"])
def test_sends_the_same_body(tmp_path: Path, case: dict[str, Any]) -> None:
    with Recorder(tmp_path / "s") as recorder:
        for client in (NARU, DOCKER):
            call(client, recorder.host, f"create {case['argv']}")
    creates = [request for request in recorder.requests if "create" in request[1]]
    if "error" in case:
        assert creates == []
    else:
        ours, theirs = creates
        assert ours == theirs


FOUND = [
    {"name": "a/b", "description": "One\nline of a rather long description that is cut",
     "star_count": 3, "is_official": False, "is_automated": True},
    {"name": "c", "description": "", "star_count": 30, "is_official": True, "is_automated": False},
    {"name": "d", "description": "\u00e9" * 60, "star_count": 7, "is_official": False,
     "is_automated": False},
]  # fmt: skip


@pytest.mark.parametrize(
    "argv",
    [
        "x",
        "--no-trunc x",
        "--limit 3 -f is-official=true -f stars=3 x",
        "--format table x",
        "--format json x",
        "--format '{{json .}}' x",
        "--format '{{.Name}}:{{.StarCount}}:{{.IsOfficial}}:{{.Description}}' x",
        "--format 'table {{.Name}}\\t{{.IsOfficial}}' x",
        "--format '{{.IsAutomated}}' x",
        "--format '{{.Foo' x",
    ],
)
def test_searches_alike(tmp_path: Path, argv: str) -> None:
    with Recorder(tmp_path / "s") as recorder:
        recorder.answers["GET", "/images/search"] = (200, FOUND)
        ours, theirs = (call(client, recorder.host, f"search {argv}") for client in (NARU, DOCKER))
        assert ours == theirs
        asked = [request for request in recorder.requests if "search" in request[1]]
        assert len(asked) == 2
        assert asked[0] == asked[1]


@pytest.mark.parametrize(
    "argv", ["-q", "--no-trunc", "--digests", "--format json", "--digests --format json -q"]
)
def test_a_tree_takes_no_formats(tmp_path: Path, argv: str) -> None:
    with Recorder(tmp_path / "s") as recorder:
        ours, theirs = (
            call(client, recorder.host, f"images --tree {argv}") for client in (NARU, DOCKER)
        )
        assert ours == theirs
        assert ours[1].endswith("is not yet supported with --tree\n")


@pytest.mark.parametrize("argv", ["", "-a", "-f dangling=true", "name"])
@pytest.mark.parametrize("columns", [0, 20, 40, 55, 70, 80, 100, 160])
def test_draws_the_same_tree(tmp_path: Path, columns: int, argv: str) -> None:
    """On terminals of several widths, and without one."""
    with Recorder(tmp_path / "s") as recorder:
        recorder.answers["GET", "/images/json"] = (200, TREE)
        env = {**os.environ, "DOCKER_HOST": recorder.host, "NARU_HOST": recorder.host}
        shown = []
        for program, *before in (NARU, DOCKER):
            words = [*before, "images", "--tree", *argv.split()]
            if columns:
                size = (50, columns)
                shown.append(pexpect.run(shlex.join([program, *words]), env=env, dimensions=size))
            else:
                done = subprocess.run([program, *words], env=env, capture_output=True, check=True)
                shown.append(done.stdout)
        assert shown[0] == shown[1]
        assert b"z:1" in shown[0]
