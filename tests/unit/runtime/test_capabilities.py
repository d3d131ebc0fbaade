from __future__ import annotations

import pytest

from naru.runtime import capabilities
from naru.spec.errors import InvalidParameter


@pytest.fixture(autouse=True)
def every_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "supported", lambda: capabilities.ALL)


def test_numbers_follow_the_kernel() -> None:
    assert capabilities.ALL[0] == "CAP_CHOWN"
    assert capabilities.ALL[21] == "CAP_SYS_ADMIN"
    assert capabilities.ALL[40] == "CAP_CHECKPOINT_RESTORE"
    assert len(capabilities.ALL) == 41


def test_the_default_set() -> None:
    assert len(capabilities.DEFAULT) == 14
    assert set(capabilities.effective([], [])) == set(capabilities.DEFAULT)


@pytest.mark.parametrize("name", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"])
def test_add_by_any_spelling(name: str) -> None:
    found = set(capabilities.effective([name], []))
    assert found == {*capabilities.DEFAULT, "CAP_NET_ADMIN"}


def test_drop() -> None:
    assert "CAP_CHOWN" not in capabilities.effective([], ["chown"])
    assert capabilities.effective([], ["ALL"]) == []
    assert capabilities.effective(["SYS_TIME"], ["all"]) == ["CAP_SYS_TIME"]
    assert capabilities.effective(["SYS_TIME"], ["ALL", "CHOWN"]) == ["CAP_SYS_TIME"]


def test_all_but_one() -> None:
    found = capabilities.effective(["ALL"], ["SYS_ADMIN"])
    assert set(capabilities.ALL) - set(found) == {"CAP_SYS_ADMIN"}


def test_privileged_has_all() -> None:
    assert capabilities.effective([], ["ALL"], privileged=True) == list(capabilities.ALL)


def test_unknown_names() -> None:
    with pytest.raises(InvalidParameter) as failure:
        capabilities.effective(["frob"], [])
    assert str(failure.value) == 'invalid CapAdd: unknown capability: "CAP_FROB"'
    with pytest.raises(InvalidParameter, match="invalid CapDrop"):
        capabilities.effective([], ["frob"])
