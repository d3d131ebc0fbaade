from hypothesis import given
from hypothesis import strategies as st

from naru.engine.containers import multiplex

frames = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=300)), max_size=10)


def test_header_is_docker_s() -> None:
    assert multiplex.frame(multiplex.STDERR, b"abc") == b"\x02\0\0\0\0\0\0\x03abc"


@given(frames, st.integers(1, 50))
def test_frames_survive_any_cutting(sent: list[tuple[int, bytes]], piece: int) -> None:
    wire = b"".join(multiplex.frame(stream, payload) for stream, payload in sent)
    deframer = multiplex.Deframer()
    got = []
    for at in range(0, len(wire), piece):
        got += deframer.feed(wire[at : at + piece])
    assert got == sent
