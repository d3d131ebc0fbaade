import os

import pytest

from naru.kernel import modules


def program(directory, text):
    modprobe = directory / "modprobe"
    modprobe.write_text("#!/bin/sh\n" + text)
    modprobe.chmod(0o755)


def test_a_load_tells_what_came_of_it(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, f'echo "$@" >{tmp_path}/asked\n')
    assert modules.load("aufs") == "modprobe aufs (done)"
    assert (tmp_path / "asked").read_text() == "aufs\n"
    program(tmp_path, "echo FATAL: no such module >&2; exit 1\n")
    assert modules.load("aufs") == "modprobe aufs (FATAL: no such module)"


def test_a_host_without_modprobe_says_so(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert modules.load("aufs") == "modprobe aufs (No such file or directory)"
