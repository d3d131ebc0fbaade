"""`naru manifest` beside `docker manifest`, at one registry: the same bytes out, the same in it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.guarded_registry import GuardedRegistry
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry

NARU = (sys.executable, "-m", "naru.cli.main")
DOCKER = ("docker",)
NOTHING = "sha256:" + "0" * 64

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("docker", "docker-registry", "skopeo"))),
    reason="needs root, docker, docker-registry and skopeo",
)


class Clients:
    """Both clients in one network namespace, each with its own config folder; no daemon."""

    def __init__(self, root: Path, netns: NetworkNamespace, registry: Registry) -> None:
        self.root = root
        self.netns = netns
        self.registry = registry

    def call(self, client: tuple[str, ...], argv: str, config: str = "") -> tuple[str, str, int]:
        """(stdout, stderr, status); `R` in argv is the registry."""
        folder = self.root / (config or ("docker" if client is DOCKER else "naru"))
        words = [word.replace("R/", f"{self.registry.address}/") for word in shlex.split(argv)]
        done = subprocess.run(
            self.netns.command(*client, "--config", str(folder), "manifest", *words),
            env={**os.environ, "DOCKER_HOST": "unix:///nobody/listens/here"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        err = done.stderr.replace("docker:", "naru:").replace("docker manifest", "naru manifest")
        return done.stdout, err, done.returncode

    def same(self, argv: str, config: str = "") -> tuple[str, str, int]:
        ours, theirs = (self.call(client, argv, config) for client in (NARU, DOCKER))
        assert ours == theirs
        return ours

    def raw(self, name: str) -> bytes:
        """The manifest that the registry has."""
        argv = (
            "inspect",
            "--raw",
            "--tls-verify=false",
            f"docker://{self.registry.address}/{name}",
        )
        return self.skopeo(*argv)

    def skopeo(self, *argv: str) -> bytes:
        command = self.netns.command("skopeo", "--insecure-policy", *argv)
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    root = tmp_path_factory.mktemp("manifests")
    with contextlib.ExitStack() as undo:
        netns = undo.enter_context(contextlib.closing(NetworkNamespace()))
        registry = undo.enter_context(contextlib.closing(Registry(root / "registry", netns)))
        fill = (sys.executable, "-m", "tests.harness.fill_registry", f"http://{registry.address}")
        subprocess.run(netns.command(*fill), cwd=Path(__file__).parents[2], check=True, timeout=60)
        yield Clients(root, netns, registry)


@pytest.mark.parametrize("verbose", ["", "-v"])
@pytest.mark.parametrize(
    "tag",
    ["amd64", "armv7", "win", "oci", "ociarm", "bare", "list", "index", "mixed", "attested"],
)
def test_inspects_alike(clients: Clients, tag: str, verbose: str) -> None:
    out, err, status = clients.same(f"inspect --insecure {verbose} R/app:{tag}")
    assert (err, status) == ("", 0)
    assert out.startswith(("{", "["))


REFUSED = f"""
inspect --insecure R/app:nested
inspect --insecure R/app:nope
inspect --insecure R/nope
inspect --insecure R/app@{NOTHING}
inspect R/app:amd64
inspect 127.0.0.1:1/app
inspect --insecure 127.0.0.1:1/app
inspect BAD
inspect -- -x
inspect a b
inspect a b c
inspect
inspect --foo x
create R/app:x
create BAD R/app:amd64
create --insecure R/app:x R/app:list
create --insecure R/app:x R/app:nope
create R/app:x R/app:amd64
annotate a
annotate a b
annotate BAD b
annotate a BAD
push
push nope
rm
rm nope BAD
nope
inspect --insecure 127.0.0.2/app
inspect 127.0.0.2/app
"""


@pytest.mark.parametrize("argv", [line for line in REFUSED.split("\n") if line])
def test_refuses_alike(clients: Clients, argv: str) -> None:
    out, err, status = clients.same(argv)
    assert (out, status) == ("", 125 if "--foo" in argv else 1)
    assert err


def test_a_digest_beside_the_tag_is_verified(clients: Clients) -> None:
    out, err, status = clients.call(NARU, f"inspect --insecure R/app:amd64@{NOTHING}")
    assert (out, status) == ("", 1)
    assert err == f"manifest verification failed for digest {NOTHING}\n"


def test_a_name_that_nobody_can_look_up(clients: Clients) -> None:
    """Docker names the resolver that it asked, which the C library does not tell."""
    looked_up = 'v2 registry: Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch'
    for client in (NARU, DOCKER):
        out, err, status = clients.call(client, "inspect nosuch.invalid/app")
        assert (out, status) == ("", 1)
        assert looked_up in err
    assert "no such host" not in clients.call(NARU, "inspect nosuch.invalid/app")[1]


def test_makes_a_list(clients: Clients) -> None:
    """Each step by both clients; what each pushed is taken from the registry."""
    pushed = []
    for client in (NARU, DOCKER):
        told = [
            clients.call(client, argv)
            for argv in (
                "create --insecure R/app:made R/app:amd64 R/app:ociarm",
                "create --insecure R/app:made R/app:armv7",
                "create --insecure --amend R/app:made R/app:armv7",
                "annotate --arch nothing R/app:made R/app:amd64",
                "annotate --os linux --arch arm64 --variant v8 --os-features a,b --os-features a"
                " --os-version 1 R/app:made R/app:amd64",
                "inspect R/app:made",
                "inspect -v R/app:made",
                "inspect R/app:made R/app:ociarm",
                "inspect -v R/app:made R/app:ociarm",
                "push --purge R/app:made",
                "inspect R/app:made",
            )
        ]
        pushed.append((told, clients.raw("app:made")))
    assert pushed[0] == pushed[1]
    assert [status for _, _, status in pushed[0][0]] == [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1]


def test_a_list_takes_manifests_from_other_repositories(clients: Clients) -> None:
    found = []
    for repository, client in (("ours", NARU), ("them", DOCKER)):
        made = f"R/{repository}:made"
        clients.call(client, f"create --insecure {made} R/app:bare R/app:win R/app:oci")
        refused = clients.call(client, f"push {made}")
        clients.call(client, f"annotate --os linux --arch amd64 {made} R/app:bare")
        told = clients.call(client, f"push --insecure {made}")
        texts = [text.replace(repository, "x") for text in (*refused[:2], *told[:2])]
        found.append((texts, refused[2], told[2], clients.raw(f"{repository}:made")))
    assert found[0] == found[1]
    assert found[0][1:3] == (1, 0)


def test_one_client_goes_on_with_the_others_list(clients: Clients) -> None:
    clients.call(DOCKER, "create --insecure R/app:shared R/app:oci", "shared")
    clients.call(NARU, "annotate --variant v2 R/app:shared R/app:oci", "shared")
    clients.same("inspect -v R/app:shared", "shared")
    clients.call(NARU, "create --insecure -a R/app:shared R/app:win", "shared")
    out, _, _ = clients.same("inspect R/app:shared", "shared")
    assert '"variant": "v2"' in out
    assert '"win32k"' in out
    assert clients.call(NARU, "rm R/app:shared", "shared") == ("", "", 0)
    assert clients.same("inspect R/app:shared", "shared")[2] == 1


def test_asks_with_a_password(clients: Clients, tmp_path: Path) -> None:
    """A registry with tokens: nobody, the wrong password, and who may."""
    guarded = GuardedRegistry(tmp_path / "guarded", clients.netns, port=5100)
    try:
        clients.skopeo(
            "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
            "--dest-creds", "ann:secret", f"docker://{clients.registry.address}/app:index",
            f"docker://{guarded.address}/team/app:index",
        )  # fmt: skip
        # The registry itself: what is before it has no answer to TLS that Go takes for HTTP.
        address = "127.0.0.1:5101"
        ask = f"inspect --insecure {address}/team/app:index"
        assert clients.same(ask)[2] == 1
        (tmp_path / "wrong").mkdir()
        _login(tmp_path / "wrong", address, "YW5uOndyb25n")
        assert "unauthorized" in clients.same(ask, str(tmp_path / "wrong"))[1]
        (tmp_path / "right").mkdir()
        _login(tmp_path / "right", address, "YW5uOnNlY3JldA==")
        assert clients.same(ask, str(tmp_path / "right"))[1:] == ("", 0)
        assert clients.same(f"{ask}s", str(tmp_path / "right"))[2] == 1
        other = f"inspect --insecure {address}/private/app:1"
        assert "denied" in clients.same(other, str(tmp_path / "right"))[1]
    finally:
        guarded.close()


def _login(folder: Path, address: str, auth: str) -> None:
    (folder / "config.json").write_text(f'{{"auths": {{"{address}": {{"auth": "{auth}"}}}}}}')
