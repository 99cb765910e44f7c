"""Guidance over several conditions, and what it costs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_artv.diffusion.guidance import branches, combine

WEIGHTS = st.floats(-10, 10, allow_subnormal=False)


def evaluate(branch: str | None) -> torch.Tensor:
    """A stand-in for the network: another fixed prediction for every branch."""
    seed = sum(map(ord, branch or ""))
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))


def guided(weights: dict[str, float]) -> torch.Tensor:
    return combine(torch.cat([evaluate(b) for b in branches(weights)]), weights)


@given(weight=WEIGHTS)
def test_one_condition_is_the_textbook_formula(weight):
    expected = (1 + weight) * evaluate(None) - weight * evaluate("text")
    assert torch.allclose(guided({"text": weight}), expected, atol=1e-5)


@given(weights=st.dictionaries(st.sampled_from("abcd"), WEIGHTS | st.just(0.0), max_size=4))
def test_many_conditions_add_up_whatever_is_left_out(weights):
    base = evaluate(None)
    expected = base.double()
    for name, weight in weights.items():
        expected = expected + weight * (base.double() - evaluate(name).double())
    assert torch.allclose(guided(weights).double(), expected, atol=1e-4)


@given(weights=st.dictionaries(st.sampled_from("abcd"), WEIGHTS | st.just(0.0), max_size=4))
def test_zero_weights_cost_no_evaluation(weights):
    names = branches(weights)
    assert names[0] is None
    assert list(names[1:]) == [name for name, weight in weights.items() if weight != 0]


def test_without_weights_the_base_comes_back_untouched():
    assert branches({"text": 0.0, "anchor": 0}) == (None,) == branches({})
    assert torch.equal(guided({"text": 0.0}), evaluate(None))


def test_the_order_of_branches_is_the_order_of_weights():
    assert branches({"references": 0.25, "anchor": 0.0, "text": 6.5}) == (
        None,
        "references",
        "text",
    )


def test_half_precision_is_combined_in_float32():
    stacked = torch.cat([evaluate(None), evaluate("text")]).bfloat16()
    result = combine(stacked, {"text": 6.5})
    assert result.dtype == torch.float32
    assert torch.equal(result, combine(stacked.float(), {"text": 6.5}))


def test_a_wrong_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="3 predictions a sample"):
        combine(torch.zeros(4, 1), {"a": 1.0, "b": 1.0})


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match="'text' must be a finite number"):
        branches({"text": weight})
