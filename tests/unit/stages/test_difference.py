"""What changed between two sets of inputs, in words."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.difference import changes
from pipeline.stages.receipts import stage_id

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
INPUTS = st.dictionaries(st.text(max_size=3), JSON, max_size=3)


def said(old: Any, new: Any) -> list[str]:
    return [str(change) for change in changes(old, new)]


def test_the_leaf_is_named() -> None:
    old = {"plan": {"steps": [{"id": "winfsp", "value": "a"}, {"id": "last", "value": "z"}]}}
    new = {"plan": {"steps": [{"id": "new"}, {"id": "winfsp", "value": "b"}]}}
    assert said(old, new) == [
        "plan.steps[new]: (absent) → {'id': 'new'}",
        "plan.steps[winfsp].value: a → b",
        "plan.steps[last]: {'id': 'last', 'value': 'z'} → (absent)",
    ]


def test_digests_are_shortened() -> None:
    assert said({"iso": "a" * 64}, {"iso": "b" * 64}) == [f"iso: {'a' * 12} → {'b' * 12}"]


@given(INPUTS, INPUTS)
def test_a_difference_is_found_exactly_when_the_ids_differ(old: Any, new: Any) -> None:
    # 1 and true are equal to Python and not to JSON; ids are computed from JSON.
    if stage_id(old) == stage_id(new):
        assert said(old, new) == []
    elif old != new:
        assert said(old, new)
