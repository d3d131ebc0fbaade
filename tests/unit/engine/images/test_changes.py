"""Dockerfile instructions of --change."""

from __future__ import annotations

from typing import Any

import pytest

from naru.engine.images.changes import apply_changes
from naru.spec.containers import ContainerConfig, HealthConfig
from naru.spec.errors import InvalidParameter


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("CMD echo hi", "cmd", ["/bin/sh", "-c", "echo hi"]),
        ('cmd ["a", "b"]', "cmd", ["a", "b"]),
        ('ENTRYPOINT ["x"]', "entrypoint", ["x"]),
        ("ENV A=1 B='x y'", "env", ["OLD=0", "A=1", "B=x y"]),
        ("ENV OLD new value", "env", ["OLD=new value"]),
        ("EXPOSE 80 53/udp 8000-8001", "exposed_ports",
         {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}),
        ("LABEL a=b", "labels", {"a": "b"}),
        ("ONBUILD RUN x", "on_build", ["RUN x"]),
        ("USER 1:2", "user", "1:2"),
        ('VOLUME ["/a", "/b c"]', "volumes", {"/a": {}, "/b c": {}}),
        ("WORKDIR sub", "working_dir", "/base/sub"),
        ("WORKDIR /abs", "working_dir", "/abs"),
        ("STOPSIGNAL 9", "stop_signal", "9"),
        ("HEALTHCHECK --interval=1m30s --retries=2 CMD curl x", "healthcheck",
         HealthConfig(test=["CMD-SHELL", "curl x"], interval=90 * 10**9, retries=2)),
        ("HEALTHCHECK NONE", "healthcheck", HealthConfig(test=["NONE"])),
    ],
)  # fmt: skip
def test_instructions(change: str, field: str, value: Any) -> None:
    before = ContainerConfig(env=["OLD=0"], working_dir="/base")
    assert getattr(apply_changes(before, [change]), field) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN x", "run is not a valid change command"),
        ("NONSENSE x", "unknown instruction: NONSENSE"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("EXPOSE eighty", "invalid containerPort: eighty"),
        ("HEALTHCHECK x", "Unknown type"),
    ],
)
def test_refusals(change: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        apply_changes(ContainerConfig(), [change])
