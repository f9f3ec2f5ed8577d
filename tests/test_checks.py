"""One clear refusal for each bad argument; NumPy values are values."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from mirrorflow import checks


@pytest.mark.parametrize(
    "value", [2, 2.0, Fraction(2), np.float32(2), np.int8(2), np.array(2.0), torch.tensor(2)]
)
def test_numbers_of_any_type_are_floats(value: Any) -> None:
    number = checks.as_number(value, "a", above=0)
    assert type(number) is float
    assert number == 2.0


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: checks.as_number("2", "a"), TypeError, r"a = '2' is a str; pass a number"),
        (lambda: checks.as_number(True, "a"), TypeError, r"a = True is a bool"),
        (lambda: checks.as_number(np.True_, "a"), TypeError, r"a = .*True.* is a bool"),
        (lambda: checks.as_number(1j, "a"), TypeError, r"a = 1j is a complex"),
        (lambda: checks.as_number(None, "a"), TypeError, r"a = None"),
        (lambda: checks.as_number(math.nan, "a"), ValueError, r"a = nan .*\(-inf, inf\)"),
        (lambda: checks.as_number(math.inf, "a", least=0), ValueError, r"a = inf .*\[0, inf\)"),
        (lambda: checks.as_number(10**400, "a", above=0), ValueError, r"a = 1000.*\(0, inf\)"),
        (lambda: checks.as_number(0, "a", above=0, most=1), ValueError, r"a = 0 .*\(0, 1\]"),
        (lambda: checks.as_number(1, "a", least=0, below=1), ValueError, r"a = 1 .*\[0, 1\)"),
        (lambda: checks.as_integer(1.0, "k"), TypeError, r"k = 1.0 is a float; pass an int"),
        (lambda: checks.as_integer(True, "k"), TypeError, r"k = True is a bool"),
        (lambda: checks.as_integer(0, "k", least=1), ValueError, r"k = 0 .*choose 1 <= k$"),
        (lambda: checks.as_integer(9, "k", least=1, most=4), ValueError, r"1 <= k <= 4"),
        (lambda: checks.as_flag("no", "f"), TypeError, r"f = 'no' is a str; pass True or False"),
        (lambda: checks.as_flag(1, "f"), TypeError, r"f = 1 is a int"),
        (lambda: checks.as_choice("x", "m", ["a", "b"]), ValueError, r"m = 'x'.*'a', 'b'"),
        (lambda: checks.as_choice(3, "m", ["a", "b"]), TypeError, r"m = 3 is a int.*'a', 'b'"),
        (lambda: checks.as_function(3, "f", "a point"), TypeError, r"f = 3 .*function of a point"),
        (lambda: checks.as_path(3, "path"), TypeError, r"path = 3 is a int; pass a path"),
        (lambda: checks.as_path("", "path"), ValueError, r"path = '' is not a path"),
        (lambda: checks.as_path("a\0b", "path"), ValueError, r"path = .* is not a path"),
        (lambda: checks.as_net(torch.nn.Linear), TypeError, r"net = the class Linear"),
        (lambda: checks.as_net("mlp"), TypeError, r"net = 'mlp' is not a network"),
        (lambda: checks.as_tensor("abc", "x"), TypeError, r"x = 'abc' is a str"),
        (lambda: checks.as_tensor(["a"], "x"), TypeError, r"x has dtype <U1"),
        (lambda: checks.as_tensor([[1], [2, 3]], "x"), TypeError, r"x has dtype object"),
        (lambda: checks.as_tensor(np.ones(2) * 1j, "x"), TypeError, r"x has dtype complex"),
        (lambda: checks.as_tensor(torch.ones(2) * 1j, "x"), TypeError, r"x is complex"),
        (lambda: checks.as_tensor(torch.eye(2).to_sparse(), "x"), TypeError, r"x is sparse"),
        (lambda: checks.as_points(torch.ones(0, 2)), ValueError, r"x has shape \(0, 2\)"),
        (lambda: checks.as_points(torch.tensor(1.0)), ValueError, r"x has shape \(\)"),
        (
            lambda: checks.as_points(torch.tensor([[1.0], [math.nan]])),
            ValueError,
            r"in 1 of 2 points, first in point 1",
        ),
    ],
)
def test_what_is_refused(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_infinity_where_it_is_meant() -> None:
    assert checks.as_number(math.inf, "p", least=1, infinite=True) == math.inf
    with pytest.raises(ValueError, match=r"p = 0 .*\[1, inf\]"):
        checks.as_number(0, "p", least=1, infinite=True)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.arange(6).reshape(2, 3).astype(">i4"),
        np.asfortranarray(np.arange(6.0, dtype=">f8").reshape(2, 3)),
    ],
)
def test_arrays_of_any_byte_order_and_stride(array: np.ndarray) -> None:
    tensor = checks.as_tensor(array, "x")
    assert tensor.shape == (2, 3)
    assert tensor.tolist() == array.tolist()
    assert checks.as_points(array).is_floating_point()


def test_a_long_value_is_cut_and_a_tensor_shown_by_its_shape() -> None:
    assert len(checks.shown("a" * 500)) == 80
    assert (
        checks.shown(torch.ones(2, 3, dtype=torch.float32))
        == "a tensor of shape (2, 3) and dtype torch.float32"
    )
