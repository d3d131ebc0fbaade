"""A pause is over when the processes stand still, whatever the runtime thinks of its own success."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.runtime import oci
from naru.runtime.complaints import RuntimeFailed
from naru.runtime.oci import OciRuntime
from naru.runtime.seccomp_bpf import SeccompCache
from naru.runtime.supervisor import Supervisor
from naru.runtime.warmth import CgroupWarmth

_RUNTIME = """#!/bin/sh
case "$*" in
    *pause*) echo 3 > {root}/looks ;;
    *resume*) echo resumed > {root}/resumed ;;
    *state*)
        read left < {root}/looks
        echo $((left - 1)) > {root}/looks
        [ $left -gt {until} ] && status=running || status=paused
        echo "{{\\"status\\": \\"$status\\", \\"pid\\": 7}}" ;;
esac
"""


def runtime(root: Path, until: int) -> OciRuntime:
    path = root / "runtime"
    path.write_text(_RUNTIME.format(root=root, until=until))
    path.chmod(0o755)
    made = OciRuntime(
        name="crun", path=str(path), exec_root=root, supervisor=Supervisor(root),
        seccomp=SeccompCache(), warmth=CgroupWarmth.for_this_machine(),
    )  # fmt: skip
    made.recover()
    (root / "runtime-crun" / "c").mkdir(parents=True)
    return made


async def test_it_is_awaited(tmp_path: Path) -> None:
    await runtime(tmp_path, until=0).pause("c")
    assert (tmp_path / "looks").read_text() == "-1\n"


async def test_one_that_does_not_freeze_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci, "_FREEZE_SECONDS", 0.05)
    with pytest.raises(RuntimeFailed, match="unable to freeze"):
        await runtime(tmp_path, until=-(10**6)).pause("c")
    assert (tmp_path / "resumed").exists()
