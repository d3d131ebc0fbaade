"""`docker run` by the stock CLI: options, exit codes, output."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon


def out(daemon: Daemon, *argv: str, **kwargs: object) -> str:
    return daemon.docker("run", "--rm", *argv, **kwargs).stdout  # type: ignore[arg-type]


def await_listener(daemon: Daemon, name: str) -> None:
    """A start is answered before the server inside listens at its port 80."""
    until(lambda: ":80 " in daemon.docker("exec", name, "netstat", "-lnt").stdout)


def test_prints_what_the_container_prints(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_runs_the_image_command_without_one(daemon: Daemon) -> None:
    assert (
        daemon.docker("run", "--rm", "-i", "busybox", input="echo from sh\n").stdout == "from sh\n"
    )


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_the_containers(daemon: Daemon, code: int) -> None:
    done = daemon.docker("run", "--rm", "busybox", "sh", "-c", f"exit {code}", check=False)
    assert done.returncode == code


def test_exit_code_of_a_signal(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "busybox", "sh", "-c", "kill -TERM $$", check=False)
    assert done.returncode == 128 + 15 or done.returncode == 0  # pid 1 ignores its own TERM
    daemon.docker("run", "-d", "--name", "sig", "busybox", "sleep", "60")
    daemon.docker("kill", "-s", "KILL", "sig")
    assert daemon.docker("wait", "sig").stdout == "137\n"
    daemon.docker("rm", "sig")


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (["nosuchprogram"], 127, "executable file not found in $PATH"),
        (["/etc/passwd"], 126, "permission denied"),
        (["/nosuch/program"], 127, "no such file or directory"),
    ],
)
def test_a_command_that_cannot_run(
    daemon: Daemon, command: list[str], code: int, text: str
) -> None:
    done = daemon.docker("run", "--rm", "busybox", *command, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert daemon.docker("ps", "-aq").stdout == ""


def test_an_image_that_does_not_exist(daemon: Daemon) -> None:
    done = daemon.docker("run", "--pull=never", "nosuchimage", check=False)
    assert done.returncode == 125
    assert "No such image: nosuchimage:latest" in done.stderr


def test_a_refused_option(daemon: Daemon) -> None:
    done = daemon.docker("run", "--memory", "1m", "busybox", "true", check=False)
    assert done.returncode == 125
    assert "Minimum memory limit allowed is 6MB" in done.stderr


def test_environment(daemon: Daemon) -> None:
    printed = out(daemon, "-e", "A=1", "-e", "B=two words", "busybox", "env").splitlines()
    assert "A=1" in printed
    assert "B=two words" in printed
    assert "HOME=/root" in printed
    assert any(line.startswith("PATH=/usr/local/sbin:") for line in printed)
    hostname = next(line for line in printed if line.startswith("HOSTNAME="))
    assert len(hostname) == len("HOSTNAME=") + 12


def test_working_directory_user_and_entrypoint(daemon: Daemon) -> None:
    assert out(daemon, "-w", "/var/made", "busybox", "pwd") == "/var/made\n"
    assert out(daemon, "-u", "nobody", "busybox", "id") == (
        "uid=65534(nobody) gid=65534(nobody) groups=65534(nobody)\n"
    )
    assert out(daemon, "-u", "1000:1001", "busybox", "sh", "-c", "id -u; id -g") == "1000\n1001\n"
    assert out(daemon, "--entrypoint", "echo", "busybox", "a", "b") == "a b\n"
    done = daemon.docker("run", "--rm", "-u", "nosuchuser", "busybox", "id", check=False)
    assert done.returncode == 125 or done.returncode == 126
    assert "unable to find user nosuchuser: no matching entries in passwd file" in done.stderr


def test_hostname_and_hosts_file(daemon: Daemon) -> None:
    assert out(daemon, "--hostname", "boat", "busybox", "hostname") == "boat\n"
    hosts = out(
        daemon, "--hostname", "boat", "--add-host", "pier:10.1.2.3", "busybox", "cat", "/etc/hosts"
    )
    assert "127.0.0.1\tlocalhost" in hosts
    assert "10.1.2.3\tpier" in hosts
    assert hosts.splitlines()[-1].split("\t")[-1] == "boat"


def test_stdin_reaches_the_container_and_its_end_too(daemon: Daemon) -> None:
    data = b"x" * 1_000_000 + b"\nend\n"
    done = daemon.docker("run", "--rm", "-i", "busybox", "md5sum", input=data)
    import hashlib

    assert done.stdout == f"{hashlib.md5(data).hexdigest()}  -\n"


def test_binary_output_is_exact(daemon: Daemon) -> None:
    command = "dd if=/dev/zero bs=1M count=20 2>/dev/null | md5sum; dd if=/dev/zero bs=1M count=20 2>/dev/null"
    import subprocess

    done = subprocess.run(
        ["docker", "-H", daemon.host, "run", "--rm", "busybox", "sh", "-c", command],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout[36:] == bytes(20 * 1024 * 1024)


def test_bind_mounts(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    assert out(daemon, "-v", f"{tmp_path}:/in", "busybox", "cat", "/in/file") == "from the host\n"
    out(daemon, "-v", f"{tmp_path}:/in", "busybox", "sh", "-c", "echo back > /in/answer")
    assert (tmp_path / "answer").read_text() == "back\n"
    done = daemon.docker(
        "run", "--rm", "-v", f"{tmp_path}:/in:ro", "busybox", "touch", "/in/no", check=False
    )
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    done = daemon.docker(
        "run",
        "--rm",
        "--mount",
        "type=bind,src=/no/such/dir,dst=/in",
        "busybox",
        "true",
        check=False,
    )
    assert done.returncode == 125
    assert "bind source path does not exist: /no/such/dir" in done.stderr


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_read_only_file_and_socket(daemon: Daemon, tmp_path: Path, runtime: str) -> None:
    (tmp_path / "settings").write_text("of the host\n")
    done = daemon.docker(
        "run", "--rm", "--runtime", runtime,
        "-v", f"{tmp_path}/settings:/etc/settings:ro",
        "-v", f"{daemon.socket}:/run/docker.sock:ro",
        "--mount", f"type=bind,src={tmp_path}/settings,dst=/etc/hosts,readonly",
        "busybox", "sh", "-c",
        "cat /etc/settings /etc/hosts; test -S /run/docker.sock && echo socket; echo x > /etc/hosts",
        check=False,
    )  # fmt: skip
    assert done.stdout == "of the host\nof the host\nsocket\n", done.stderr
    assert "Read-only file system" in done.stderr


def test_named_volumes_keep_their_content(daemon: Daemon) -> None:
    out(daemon, "-v", "cargo:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert out(daemon, "-v", "cargo:/data", "busybox", "cat", "/data/file") == "kept\n"
    assert daemon.docker("volume", "ls", "-q").stdout == "cargo\n"
    daemon.docker("volume", "rm", "cargo")


def test_a_new_volume_starts_with_the_images_content(daemon: Daemon) -> None:
    assert "passwd" in out(daemon, "-v", "etc:/etc", "busybox", "ls", "/etc")
    daemon.docker("volume", "rm", "etc")


def test_anonymous_volumes_go_with_rm(daemon: Daemon) -> None:
    out(daemon, "-v", "/data", "busybox", "true")
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_read_only_root_and_tmpfs(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "--read-only", "busybox", "touch", "/x", check=False)
    assert "Read-only file system" in done.stderr
    mounted = out(
        daemon, "--read-only", "--tmpfs", "/run:size=1m,mode=700", "busybox",
        "sh", "-c", "touch /run/x && grep ' /run ' /proc/mounts",
    )  # fmt: skip
    assert "tmpfs" in mounted
    assert "size=1024k" in mounted
    assert "mode=700" in mounted


def test_limits_reach_the_cgroup(daemon: Daemon) -> None:
    daemon.docker(
        "run", "-d", "--name", "lim", "-m", "64m", "--cpus", "0.5", "--pids-limit", "33",
        "busybox", "sleep", "60",
    )  # fmt: skip
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
    seen = daemon.docker("exec", "lim", "sh", "-c", script).stdout.split()
    assert seen[:3] == [str(64 << 20), "33", "50000"]
    daemon.docker("rm", "-f", "lim")


def test_out_of_memory_is_told(daemon: Daemon) -> None:
    daemon.docker(
        "run", "--name", "oom", "-m", "16m", "--memory-swap", "16m", "busybox",
        "sh", "-c", "x=$(head -c 64m /dev/zero | tr '\\0' x); echo $x | wc -c", check=False,
    )  # fmt: skip
    state = daemon.docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "oom").stdout
    daemon.docker("rm", "oom")
    assert state.split()[0] == "true"


def test_ulimits(daemon: Daemon) -> None:
    assert out(
        daemon, "--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn"
    ) == ("100\n200\n")


def test_capabilities_and_seccomp(daemon: Daemon) -> None:
    status = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status"
    usual = out(daemon, "busybox", "sh", "-c", status)
    assert "CapEff:\t00000000a80425fb" in usual
    assert "Seccomp:\t2" in usual
    assert "CapEff:\t0000000000000000" in out(
        daemon, "--cap-drop", "ALL", "busybox", "sh", "-c", status
    )
    added = out(daemon, "--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", status)
    assert "CapEff:\t00000000a82425fb" in added
    nnp = out(daemon, "--security-opt", "no-new-privileges", "busybox", "sh", "-c", status)
    assert "NoNewPrivs:\t1" in nnp
    privileged = out(daemon, "--privileged", "busybox", "sh", "-c", status)
    assert "Seccomp:\t0" in privileged
    assert "CapEff:\t00000000a80425fb" not in privileged
    done = daemon.docker("run", "--rm", "busybox", "unshare", "-m", "true", check=False)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr


def test_init_is_pid_one(daemon: Daemon) -> None:
    assert "docker-init" in out(daemon, "--init", "busybox", "sh", "-c", "cat /proc/1/cmdline")


def test_sensitive_paths_are_masked(daemon: Daemon) -> None:
    assert out(daemon, "busybox", "sh", "-c", "cat /proc/kcore | wc -c") == "0\n"
    done = daemon.docker(
        "run", "--rm", "busybox", "sh", "-c", "echo 1 > /proc/sys/kernel/hostname", check=False
    )
    assert done.returncode != 0


def test_detached_run_prints_the_id(daemon: Daemon) -> None:
    cid = daemon.docker("run", "-d", "busybox", "sleep", "60").stdout.strip()
    assert len(cid) == 64
    assert daemon.docker("ps", "-q", "--no-trunc").stdout.strip() == cid
    daemon.docker("rm", "-f", cid)


def test_pid_ipc_and_network_of_another_container(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "first", "busybox", "sleep", "60")
    address = out(
        daemon, "--network", "container:first", "busybox", "ip", "-4", "addr", "show", "eth0"
    )
    mine = daemon.docker("exec", "first", "ip", "-4", "addr", "show", "eth0").stdout
    assert address == mine
    until(lambda: "sleep 60" in out(daemon, "--pid", "container:first", "busybox", "ps"))
    daemon.docker("rm", "-f", "first")


def test_network_none_has_loopback_only(daemon: Daemon) -> None:
    links = out(daemon, "--network", "none", "busybox", "ls", "/sys/class/net").split()
    assert "eth0" not in links
    assert "lo" in links
    assert "127.0.0.1/8" in out(daemon, "--network", "none", "busybox", "ip", "addr", "show", "lo")


def test_network_host_is_the_daemons(daemon: Daemon) -> None:
    inside = set(out(daemon, "--network", "host", "busybox", "ls", "/sys/class/net").split())
    assert "lo" in inside
    assert "eth0" not in inside


def test_containers_of_the_bridge_reach_each_other(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "server", "busybox", "httpd", "-f", "-h", "/etc")
    address = daemon.docker(
        "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server"
    ).stdout.strip()
    await_listener(daemon, "server")
    page = out(daemon, "busybox", "wget", "-qO-", f"http://{address}/passwd")
    assert page.startswith("root:x:0:0")
    daemon.docker("rm", "-f", "server")


def test_published_ports(daemon: Daemon) -> None:
    daemon.docker(
        "run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/etc"
    )
    assert daemon.docker("port", "web").stdout.splitlines()[0] == "80/tcp -> 0.0.0.0:8080"
    await_listener(daemon, "web")
    fetched = daemon.netns.run("busybox", "wget", "-qO-", "http://127.0.0.1:8080/passwd")
    assert fetched.stdout.startswith("root:x:0:0"), fetched.stderr
    done = daemon.docker(
        "run", "-d", "--name", "web2", "-p", "8080:80", "busybox", "sleep", "9", check=False
    )
    assert done.returncode == 125
    assert "port is already allocated" in done.stderr
    daemon.docker("rm", "-f", "web", "web2")
    daemon.docker("run", "--rm", "-p", "8080:80", "busybox", "true")


def test_conflicting_names(daemon: Daemon) -> None:
    cid = daemon.docker("create", "--name", "taken", "busybox").stdout.strip()
    done = daemon.docker("create", "--name", "taken", "busybox", check=False)
    assert done.returncode == 1
    assert (
        f'Conflict. The container name "/taken" is already in use by container "{cid}". You have to '
        "remove (or rename) that container to be able to reuse that name." in done.stderr
    )
    daemon.docker("rm", "taken")


def test_invalid_names(daemon: Daemon) -> None:
    done = daemon.docker("create", "--name", "no spaces", "busybox", check=False)
    assert (
        "Invalid container name (no spaces), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        in done.stderr
    )
