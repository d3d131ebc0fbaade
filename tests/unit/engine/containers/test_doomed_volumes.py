from __future__ import annotations

from pathlib import Path

from naru.engine.containers import doomed_volumes


def test_a_note_is_replaced_and_taken_back(tmp_path: Path) -> None:
    assert doomed_volumes.noted(tmp_path) == []
    doomed_volumes.note(tmp_path, ["a", "b"])
    doomed_volumes.note(tmp_path, ["c"])
    assert doomed_volumes.noted(tmp_path) == ["c"]
    doomed_volumes.note(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_gone_needs_no_note(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    doomed_volumes.note(gone, ["a"])
    doomed_volumes.note(gone, [])
    assert doomed_volumes.noted(gone) == []
    assert not gone.exists()
