import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.engine.containers import detach_keys
from naru.engine.containers.detach_keys import DetachScanner
from naru.spec.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a,b", b"ab"),
        ("ctrl-@", b"\0"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", bytes([27, 28, 29, 30, 31])),
    ],
)
def test_sequences(text: str, keys: bytes) -> None:
    assert detach_keys.parse(text) == keys


@pytest.mark.parametrize("text", ["ctrl-1", "xy", "ctrl-p,", "ctrl-A"])
def test_a_bad_key_names_itself(text: str) -> None:
    with pytest.raises(InvalidParameter, match="Invalid escape keys"):
        detach_keys.parse(text)


def test_default_sequence_detaches_across_reads() -> None:
    scanner = DetachScanner(b"\x10\x11")
    assert scanner.feed(b"ls\n\x10") == (b"ls\n", False)
    assert scanner.feed(b"\x11") == (b"", True)


def test_what_was_held_back_is_given_back() -> None:
    scanner = DetachScanner(b"\x10\x11")
    assert scanner.feed(b"\x10") == (b"", False)
    assert scanner.feed(b"x") == (b"\x10x", False)


def test_a_sequence_that_overlaps_itself() -> None:
    scanner = DetachScanner(b"aab")
    assert scanner.feed(b"aaab") == (b"a", True)


@given(
    st.text("ab", min_size=1, max_size=4),
    st.text("abc", max_size=40),
    st.integers(1, 5),
)
def test_agrees_with_a_plain_search(keys: str, typed: str, piece: int) -> None:
    scanner = DetachScanner(keys.encode())
    passed, detached = b"", False
    for at in range(0, len(typed), piece):
        more, detached = scanner.feed(typed[at : at + piece].encode())
        passed += more
        if detached:
            break
    at = typed.find(keys)
    assert detached == (at >= 0)
    if detached:
        assert passed == typed[:at].encode()
    else:
        # Only a beginning of the sequence may be held back.
        held = typed[len(passed) :]
        assert typed.startswith(passed.decode())
        assert keys.startswith(held)
