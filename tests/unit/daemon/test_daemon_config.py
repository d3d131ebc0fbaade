from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from naru.daemon import config as configuration
from naru.daemon import usage
from naru.daemon.config import Config, ConfigError
from naru.daemon.flags import UsageError
from naru.daemon.option_structures import AddressPool, RuntimeChoice
from naru.daemon.options import DOCKERD, NARUD, OPTIONS, REFUSED, Program
from naru.spec.containers import Ulimit
from naru.spec.disk import FreeSpace


def loaded(
    *arguments: str,
    file: Any = None,
    tmp_path: Path | None = None,
    program: Program = NARUD,
    environ: dict[str, str] | None = None,
) -> Config:
    arguments_list = list(arguments)
    if tmp_path is not None:
        path = tmp_path / "daemon.json"
        path.write_text(file if isinstance(file, str) else json.dumps(file))
        arguments_list += ["--config-file", str(path)]
    asked = configuration.command_line(arguments_list)
    assert asked.action == "run"
    return configuration.load(program, asked.given, environ=environ or {})


def test_the_table_and_the_config_have_the_same_fields() -> None:
    fields = set(Config.__struct_fields__) - {"program"}
    assert {option.field for option in OPTIONS} == fields
    flags = [option.flag for option in OPTIONS] + [option.flag for option in REFUSED]
    assert len(flags) == len(set(flags))
    shorts = [option.short for option in OPTIONS if option.short]
    assert len(shorts) == len(set(shorts))


def test_the_defaults_of_narud() -> None:
    config = loaded()
    assert config.hosts == ("unix:///run/naru.sock",)
    assert config.data_root == Path("/var/lib/naru")
    assert config.exec_root == Path("/run/naru")
    assert config.pidfile == Path("/run/naru.pid")
    assert config.config_file == "/etc/naru/daemon.json"
    assert config.bridge_name == "naru0"
    assert config.group == "docker"
    assert config.log_driver == "json-file"
    assert config.default_shm_size == 64 << 20
    assert config.icc
    assert config.live_restore


def test_the_defaults_of_dockerd() -> None:
    config = loaded(program=DOCKERD)
    assert config.hosts == ("unix:///var/run/docker.sock",)
    assert config.data_root == Path("/var/lib/docker")
    assert config.exec_root == Path("/var/run/docker")
    assert config.pidfile == Path("/var/run/docker.pid")
    assert config.config_file == "/etc/docker/daemon.json"
    assert config.bridge_name == "docker0"


def test_every_flag_of_the_issue() -> None:
    config = loaded(
        "-H", "unix:///a", "-H", "tcp://127.0.0.1:1", "-D", "--data-root=/d", "--exec-root", "/e",
        "-p", "/p", "-G", "staff", "-s", "vfs", "--storage-opt", "a.b=c",
        "--add-runtime", "crun2=/usr/bin/crun", "--default-runtime", "crun2", "-b", "none",
        "--iptables=false", "--ip-forward=0", "--ip-masq=f", "--mtu", "1400", "--dns", "1.1.1.1",
        "--dns", "::1", "--dns-search", "example.org", "--dns-opt", "ndots:1",
        "--default-address-pool", "base=10.10.0.0/16,size=24", "--ip", "127.0.0.1",
        "--userland-proxy=false", "--log-driver", "none", "--log-opt", "max-size=1m",
        "--log-opt=max-file=3", "--insecure-registry", "r:5000", "--registry-mirror", "http://m",
        "--max-concurrent-downloads=9", "--max-concurrent-uploads", "8",
        "--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", "x.slice",
        "--default-ulimit", "nofile=10:20", "--default-shm-size", "1g", "--init", "--label", "a=b",
        "--live-restore", "--shutdown-timeout", "-1",
    )  # fmt: skip
    assert config.hosts == ("unix:///a", "tcp://127.0.0.1:1")
    assert config.log_level == "debug"
    assert (config.data_root, config.exec_root, config.pidfile) == (
        Path("/d"),
        Path("/e"),
        Path("/p"),
    )
    assert config.runtimes == (RuntimeChoice("crun2", "/usr/bin/crun"),)
    switches = (config.iptables, config.ip_forward, config.ip_masq, config.userland_proxy)
    assert switches == (False, False, False, False)
    assert config.dns == ("1.1.1.1", "::1")
    assert config.default_address_pools == (AddressPool("10.10.0.0/16", 24),)
    assert config.log_opts == {"max-size": "1m", "max-file": "3"}
    assert config.cgroup_driver == "systemd"
    assert config.default_ulimits == (Ulimit(name="nofile", soft=10, hard=20),)
    assert config.default_shm_size == 1 << 30
    assert config.shutdown_timeout == -1


def test_the_file_says_the_same(tmp_path: Path) -> None:
    config = loaded(
        tmp_path=tmp_path,
        file={
            "hosts": ["tcp://127.0.0.1:1"],
            "data-root": "/d",
            "debug": True,
            "runtimes": {"x": {"path": "/x", "runtimeArgs": ["--y"]}},
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 10, "Hard": 20}},
            "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
            "default-shm-size": "128M",
            "log-opts": {"max-size": "1m"},
            "labels": ["a=b"],
            "icc": False,
            "mtu": 1400,
            "dns": ["1.1.1.1"],
            "features": {"buildkit": False},
            "experimental": False,
            "bridge": None,
        },
    )
    assert config.hosts == ("tcp://127.0.0.1:1",)
    assert config.runtimes == (RuntimeChoice("x", "/x", ("--y",)),)
    assert config.default_ulimits == (Ulimit(name="nofile", soft=10, hard=20),)
    assert config.default_address_pools == (AddressPool("10.10.0.0/16", 24),)
    assert config.default_shm_size == 128 << 20
    assert config.mtu == 1400
    assert not config.icc


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--mtu", "x"], 'invalid argument "x" for "--mtu" flag: strconv.ParseInt: parsing "x":'
         " invalid syntax"),
        (["--icc=maybe"], 'invalid argument "maybe" for "--icc" flag: strconv.ParseBool: parsing'
         ' "maybe": invalid syntax'),
        (["--dns", "x"], 'invalid argument "x" for "--dns" flag: x is not an ip address'),
        (["--label", "x"], 'invalid argument "x" for "--label" flag: bad attribute format: x'),
        (["--add-runtime", "x"], 'invalid argument "x" for "--add-runtime" flag: invalid runtime'
         " argument: x"),
        (["--add-runtime", "runc=/x"], 'invalid argument "runc=/x" for "--add-runtime" flag:'
         " runtime name 'runc' is reserved"),
        (["--log-level", "loud"], 'invalid argument "loud" for "--log-level" flag: must be one of'
         " debug, info, warn, error, fatal"),
        (["--default-shm-size", "x"], 'invalid argument "x" for "--default-shm-size" flag: invalid'
         " size: 'x'"),
        (["--max-concurrent-downloads=-1"], 'invalid argument "-1" for'
         ' "--max-concurrent-downloads" flag: invalid max concurrent downloads: -1'),
        (["--min-free-space", "much"], 'invalid argument "much" for "--min-free-space" flag: invalid'
         " size: 'much'"),
        (["--min-free-space", "150%"], 'invalid argument "150%" for "--min-free-space" flag: invalid'
         " percentage: 150%: expected 0 to 100"),
        (["--userns-remap", "default"], "--userns-remap is not supported by this engine (yet)"),
        (["--ipv6"], "--ipv6 is not supported by this engine (yet)"),
        (["--seccomp-profile=/x"], "--seccomp-profile is not supported by this engine (yet)"),
        (["--nope"], "unknown flag: --nope"),
    ],
)  # fmt: skip
def test_wrong_flags(arguments: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(*arguments)
    assert str(caught.value) == text


def test_free_space() -> None:
    assert loaded().min_free_space == FreeSpace(percent=1, size=256 << 20)
    assert loaded("--min-free-space", "2g").min_free_space == FreeSpace(size=2 << 30)
    assert loaded("--min-free-space=5%").min_free_space == FreeSpace(percent=5)
    assert loaded("--min-free-space", "2.5%, 1m").min_free_space.of(1 << 30) == 1 << 20
    assert loaded("--min-free-space", "0").min_free_space.of(1 << 40) == 0


def test_a_refused_option_may_say_what_we_do_anyway() -> None:
    loaded("--ipv6=false", "--experimental=false", "--max-download-attempts=5")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("{", "invalid JSON"),
        ("[]", "invalid JSON: expected an object"),
        ({"nope": 1, "more": 2}, "the following directives don't match any configuration option:"
         " more, nope"),
        ({"mtu": "x"}, "mtu: expected an integer"),
        ({"mtu": True}, "mtu: expected an integer"),
        ({"hosts": "x"}, "hosts: expected a list of strings"),
        ({"debug": "yes"}, "debug: expected a boolean"),
        ({"dns": ["x"]}, "dns: x is not an ip address"),
        ({"runtimes": {"x": {}}}, "runtimes: runtime x: path is required"),
        ({"runtimes": {"x": {"path": "/x", "runtimeType": "t"}}}, "runtimes: runtime x:"
         " runtimeType is not supported"),
        ({"userns-remap": "default"}, "userns-remap is not supported by this engine (yet)"),
        ({"features": {"buildkit": True}}, "features is not supported by this engine (yet)"),
        ({"proxies": {"http-proxy": "x"}}, "proxies is not supported by this engine (yet)"),
        ({"bridge": "b", "bip": "10.0.0.1/24"}, None),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path: Path, file: Any, text: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path=tmp_path, file=file)
    if text is None:
        assert str(caught.value).startswith("You specified -b & --bip")
    else:
        head = f"unable to configure the Naru daemon with file {tmp_path}/daemon.json: "
        assert str(caught.value).startswith(head + text)


def test_flag_and_file_may_not_both_say_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(
            "-H", "fd://", "--label", "a=b", "--icc=false", "--log-opt", "max-file=5",
            tmp_path=tmp_path,
            file={
                "hosts": ["unix:///x", "tcp://y"],
                "icc": True,
                "labels": ["c=d"],
                "log-opts": {"max-size": "1m"},
                "mtu": 5,
            },
        )  # fmt: skip
    assert str(caught.value).endswith(
        "the following directives are specified both as a flag and in the configuration file:"
        " hosts: (from flag: [fd://], from file: [unix:///x tcp://y]),"
        " icc: (from flag: false, from file: true),"
        " labels: (from flag: [a=b], from file: [c=d]),"
        " log-opts: (from flag: map[max-file:5], from file: map[max-size:1m])"
    )


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match="open /does/not/exist: no such file or directory"):
        loaded("--config-file", "/does/not/exist")


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match=r"--iptables=false with --icc=false"):
        loaded("--iptables=false", "--icc=false")
    with pytest.raises(ConfigError, match="invalid cgroup driver: x"):
        loaded("--exec-opt", "native.cgroupdriver=x")
    with pytest.raises(ConfigError, match="exec-opt a is not supported"):
        loaded("--exec-opt", "a=b")


def test_systemd_takes_groups_below_a_slice_only() -> None:
    systemd = ("--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent")
    for parent in ("/x", "x", ".slice"):
        with pytest.raises(ConfigError, match=r'a valid slice named as "xxx\.slice"'):
            loaded(*systemd, parent)
    assert loaded(*systemd, "x.slice").cgroup_parent == "x.slice"
    assert loaded("--cgroup-parent", "/x").cgroup_parent == "/x"
    assert loaded(*systemd[:2]).cgroup_parent == ""


def test_the_environment() -> None:
    environ = {
        "DOCKER_DRIVER": "vfs",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/certs",
    }
    config = loaded(environ=environ)
    assert config.storage_driver == "vfs"
    assert config.tls
    assert config.tlsverify
    assert config.tlscert == "/certs/cert.pem"
    assert loaded("-s", "overlay2", environ=environ).storage_driver == "overlay2"


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (["--help"], "help"),
        (["-h"], "help"),
        (["-v"], "version"),
        (["--version", "-D"], "version"),
        (["--validate"], "validate"),
        (["--validate=false"], "run"),
    ],
)
def test_actions(arguments: list[str], action: str) -> None:
    assert configuration.command_line(arguments).action == action


def test_reload_takes_only_what_is_reloadable(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"labels": ["a=b"], "mtu": 1400}')
    given = configuration.command_line(["--config-file", str(path)]).given
    config = configuration.load(NARUD, given, environ={})
    path.write_text('{"labels": ["c=d"], "mtu": 1300, "debug": true}')
    fresh = configuration.reload(config, given)
    assert fresh.labels == ("c=d",)
    assert fresh.log_level == "debug"
    assert fresh.mtu == 1400


def test_help_names_every_option() -> None:
    text = usage.text(DOCKERD)
    for option in OPTIONS:
        assert f"--{option.flag}" in text
    assert '"/var/lib/docker"' in text
    assert all(len(line) <= 100 for line in text.splitlines())
