from __future__ import annotations

import hashlib

from naru.spec.layers import chains


def test_a_chain_id_names_a_layer_with_all_below_it() -> None:
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert list(chains([])) == []
    assert list(chains([a, b])) == [a, "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()]
