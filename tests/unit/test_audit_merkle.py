"""The tree against RFC 6962's own definitions and known roots."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.heads import Head, TenantMap
from dezky_operator.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    nodes_of,
    range_root,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.audit.reference import LEAVES, flipped, mth, path, subproof

SIZES = st.integers(1, 600)
NODE = nodes_of(LEAVES[:600])

# Inputs and roots that Certificate Transparency implementations test with.
KNOWN_INPUTS = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243")] + [
    bytes.fromhex("5051525354555657"),
    bytes.fromhex("606162636465666768696a6b6c6d6e6f"),
]
KNOWN_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def test_the_known_roots_of_certificate_transparency() -> None:
    leaves = [leaf_hash(data) for data in KNOWN_INPUTS]
    assert [root_of(leaves[:size]).hex() for size in range(9)] == list(KNOWN_ROOTS)


def test_a_leaf_can_not_pass_for_a_node() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_the_append_state_has_the_root_of_the_definition_at_every_size() -> None:
    frontier = Frontier()
    assert frontier.root() == EMPTY_ROOT
    for size in range(1, 601):
        frontier.append(LEAVES[size - 1])
        assert frontier.root() == mth(0, size)
        assert Frontier(size, frontier.peaks).root() == mth(0, size)


def test_a_copy_goes_its_own_way() -> None:
    one = Frontier(2, [mth(0, 2)])
    other = one.copy()
    other.append(LEAVES[2])
    assert (one.size, one.root()) == (2, mth(0, 2))
    assert (other.size, other.root()) == (3, mth(0, 3))


def test_an_append_state_with_the_wrong_number_of_peaks_is_refused() -> None:
    with pytest.raises(ProofError, match="has 2 peaks, found 1"):
        Frontier(3, [LEAVES[0]])


@given(size=SIZES, data=st.data())
def test_inclusion_proofs_are_those_of_the_definition_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, NODE)
    assert list(proof) == path(index, 0, size)
    verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=proof, root=mth(0, size))


@given(size=SIZES, data=st.data())
def test_a_changed_inclusion_proof_proves_nothing(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root, leaf = path(index, 0, size), mth(0, size), LEAVES[index]
    bit = data.draw(st.integers(0, 255))
    right: dict[str, Any] = {"leaf": leaf, "index": index, "size": size, "proof": proof, "root": root}
    wrong: list[dict[str, Any]] = [
        {"root": flipped([root], 0, bit)[0]},
        {"leaf": flipped([leaf], 0, bit)[0]},
        {"proof": [*proof, root]},
        {"proof": [leaf, *proof]},
        {"index": size},
        {"index": -1},
    ]
    wrong += [{"proof": flipped(proof, step, bit)} for step in range(len(proof))]
    wrong += [{"proof": proof[1:]}, {"proof": proof[:-1]}] if proof else []
    wrong += [{"index": other} for other in {index ^ 1, size - 1 - index} if other != index]
    for change in wrong:
        with pytest.raises(ProofError):
            verify_inclusion(**right | change)


@given(second=SIZES, data=st.data())
def test_consistency_proofs_are_those_of_the_definition_and_verify(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    proof = consistency_proof(first, second, NODE)
    assert list(proof) == subproof(first, 0, second, known=True)
    verify_consistency(first=first, second=second, first_root=mth(0, first), second_root=mth(0, second), proof=proof)


@given(second=SIZES, data=st.data())
def test_a_changed_consistency_proof_proves_nothing(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, second))
    proof = subproof(first, 0, second, known=True) if first else []
    bit = data.draw(st.integers(0, 255))
    right: dict[str, Any] = {"first_root": mth(0, first), "second_root": mth(0, second), "proof": proof}
    wrong: list[dict[str, Any]] = [{"proof": [*proof, mth(0, second)]}, {"proof": [mth(0, first), *proof]}]
    wrong += [{"first_root": flipped([mth(0, first)], 0, bit)[0]}]
    wrong += [{"second_root": flipped([mth(0, second)], 0, bit)[0]}] if first else []
    wrong += [{"proof": flipped(proof, step, bit)} for step in range(len(proof))]
    wrong += [{"proof": proof[1:]}, {"proof": proof[:-1]}] if proof else []
    for change in wrong:
        with pytest.raises(ProofError):
            verify_consistency(first=first, second=second, **right | change)


def test_an_inclusion_proof_has_the_length_its_size_asks_for() -> None:
    leaf, other = LEAVES[:2]
    with pytest.raises(ProofError, match="does not lead"):
        verify_inclusion(leaf=leaf, index=0, size=2, proof=[], root=leaf)
    with pytest.raises(ProofError, match="too long"):
        verify_inclusion(leaf=leaf, index=0, size=1, proof=[other], root=node_hash(other, leaf))
    torn = [other[:16], other[16:]]
    with pytest.raises(ProofError, match="does not lead"):
        verify_inclusion(leaf=leaf, index=0, size=2, proof=[other + b"x"], root=node_hash(leaf, other + b"x"))
    with pytest.raises(ProofError, match=r"does not lead|too long"):
        verify_inclusion(leaf=leaf, index=0, size=2, proof=torn, root=node_hash(leaf, other))


def test_a_consistency_proof_has_the_length_its_sizes_ask_for() -> None:
    with pytest.raises(ProofError, match="does not join"):
        verify_consistency(first=1, second=4, first_root=mth(0, 1), second_root=mth(0, 2), proof=[LEAVES[1]])
    extra = LEAVES[9]
    longer = [*subproof(3, 0, 4, known=True), extra]
    roots = {"first_root": node_hash(extra, mth(0, 3)), "second_root": node_hash(extra, mth(0, 4))}
    with pytest.raises(ProofError, match="does not join"):
        verify_consistency(first=3, second=4, proof=longer, **roots)


def test_every_log_begins_with_the_empty_one() -> None:
    assert consistency_proof(0, 7, NODE) == ()
    verify_consistency(first=0, second=7, first_root=EMPTY_ROOT, second_root=mth(0, 7), proof=())
    with pytest.raises(ProofError, match="empty proof"):
        verify_consistency(first=0, second=7, first_root=mth(0, 7), second_root=mth(0, 7), proof=())


@pytest.mark.parametrize(("first", "second"), [(8, 7), (-1, 7)])
def test_a_log_does_not_shrink(first: int, second: int) -> None:
    with pytest.raises(ProofError, match="can not begin"):
        consistency_proof(first, second, NODE)
    with pytest.raises(ProofError, match="can not begin"):
        verify_consistency(first=first, second=second, first_root=EMPTY_ROOT, second_root=EMPTY_ROOT, proof=())


def test_a_proof_of_a_leaf_outside_is_not_made() -> None:
    with pytest.raises(ProofError, match="not in a tree"):
        inclusion_proof(7, 7, NODE)


@given(level=st.integers(0, 8), data=st.data())
def test_a_range_has_the_root_of_its_leaves(level: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 600 >> level)) << level
    end = data.draw(st.integers(start, min(600, start + (1 << level))))
    assert range_root(start, end, NODE) == root_of(LEAVES[start:end])


def test_a_map_of_tenants_proves_each_of_its_heads() -> None:
    heads = [Head(f"{n:08d}-0000-4000-8000-000000000000", n, LEAVES[n]) for n in range(20)] + [Head("", 3, LEAVES[30])]
    found = TenantMap(reversed(heads))
    assert [head.tenant for head in found.heads] == sorted(head.tenant for head in heads)
    for head in heads:
        index = found.place(head.tenant)
        proof = inclusion_proof(index, len(found), found.node)
        verify_inclusion(leaf=head.leaf, index=index, size=len(found), proof=proof, root=found.root)


def test_a_map_without_a_tenant_proves_no_head_of_it() -> None:
    found = TenantMap([Head("", 0, LEAVES[0])])
    with pytest.raises(ProofError, match="no line"):
        found.place("11111111-1111-4111-8111-111111111111")
    assert TenantMap([]).root == EMPTY_ROOT


def test_a_tenant_with_two_heads_is_refused() -> None:
    with pytest.raises(ProofError, match="found two"):
        TenantMap([Head("", 0, LEAVES[0]), Head("", 1, LEAVES[1])])


def test_a_head_binds_tenant_number_and_hash() -> None:
    base = Head("", 1, LEAVES[0])
    assert len({base.leaf, Head("", 2, LEAVES[0]).leaf, Head("", 1, LEAVES[1]).leaf, Head("x", 1, LEAVES[0]).leaf}) == 4
