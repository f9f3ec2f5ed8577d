"""A map is its parameters, not their text; and what every public callable refuses."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

from mirrorflow import maps

SAME = [
    (maps.Power(np.float64(3)), maps.Power(3), maps.Power(3.0)),
    (maps.Power(np.int64(3)), maps.Power(np.float32(3)), maps.Power(torch.tensor(3.0))),
    (maps.HyperbolicEntropy(np.float64(0.01)), maps.HyperbolicEntropy(0.01)),
    (maps.Logarithmic(np.float64(1)), maps.Logarithmic(1), maps.Logarithmic()),
    (maps.Mixed(np.float64(4), 1, np.float32(1)), maps.Mixed()),
    (maps.Cosh(np.array(1.0)), maps.Cosh(1), maps.Cosh()),
    (maps.PNorm(np.float64(3)), maps.PNorm(3)),
    (maps.SimplexEntropy(np.int64(-1)), maps.SimplexEntropy()),
    (maps.Scaled(maps.Power(np.float64(3)), np.float64(2)), maps.Scaled(maps.Power(3), 2)),
    (maps.Spectral(maps.Power(np.float64(3))), maps.Spectral(maps.Power(3))),
]


@pytest.mark.parametrize("same", SAME, ids=lambda same: repr(same[0]))
def test_one_map_whatever_its_numbers_are(same: tuple[maps.MirrorMap, ...]) -> None:
    for each in same:
        assert each == same[0]
        assert hash(each) == hash(same[0])
        assert repr(each) == repr(same[0])
        assert each.state() == same[0].state()
        assert maps.parse_map(repr(each)) == each
        assert pickle.loads(pickle.dumps(each)) == each
        assert "np." not in repr(each)
    plain = [same[0].state()]
    while plain:
        for value in plain.pop().values():
            assert type(value) in (str, int, float, dict)
            if isinstance(value, dict):
                plain.append(value)


def test_other_parameters_are_other_maps() -> None:
    assert maps.Power(3) != maps.PNorm(3)
    assert maps.Power(3).state() != maps.PNorm(3).state()
    assert maps.Power(3) != maps.Power(3 + 1e-15)
    assert maps.Cosh(0.1 + 0.2) != maps.Cosh(0.3)
    assert maps.parse_map(repr(maps.Cosh(0.1 + 0.2))) == maps.Cosh(0.1 + 0.2)


def test_two_functions_of_one_name_are_two_maps() -> None:
    first, second = (maps.Custom(gradient=lambda x, k=k: x + k * x**3) for k in (1, 2))
    assert repr(first) == repr(second)
    assert first != second
    assert first.state() != second.state()
    again = maps.Custom(gradient=lambda x: x + x**3, name=first.state()["name"])
    assert again != first  # another function, though
    assert again.state() == first.state()  # one that a run may go on with


@pytest.mark.parametrize(
    "text",
    [
        *("power(1e999)", "power(nan)", "cosh(-1)", "power(" * 5000, "(" * 300, "ℓ1", "power(x=3)"),
        *("\0", "spectral(" * 60 + "cosh" + ")" * 60, "power(p=3, p=4)", "power(9**9**9)"),
        *("power(*[3])", "a" * 100_000, "power(3)(4)", "power(10**1000)", "lambda: 0", "power()"),
        *("power(True)", "power(" + "9" * 350 + ")", "cosh(1/" + "9" * 350 + ")"),
    ],
)
def test_any_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        maps.parse_map(text)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: maps.Power(3).step(torch.ones(3), torch.ones(2)), "delta has shape"),
        (lambda: maps.Cosh().bregman(torch.ones(3), torch.ones(2, 3)), "y has shape"),
        (lambda: maps.PNorm(3).step(torch.ones(3), torch.ones(4)), "delta has shape"),
        (lambda: maps.Spectral(maps.Cosh()).step(torch.ones(3), torch.ones(4)), "delta has shape"),
        (lambda: maps.SimplexEntropy(3).to_primal(torch.ones(2)), "lacks dim = 3"),
        (lambda: maps.SimplexEntropy(3).step(torch.ones(2), torch.ones(2)), "lacks dim = 3"),
        (lambda: maps.NegativeEntropy().to_dual(torch.tensor([-1.0])), "x has a negative entry"),
        (lambda: maps.finite_gauge(maps.Cosh(), torch.tensor([math.nan]), 1.0), "x holds NaN"),
        (lambda: maps.finite_gauge(maps.Cosh(), torch.ones(2), "a"), "level"),
        (lambda: maps.LpHorizon("2"), "p = '2'"),
        (lambda: maps.LpHorizon(2).gauge([1.0]), "x must be a torch.Tensor"),
        (lambda: maps.LpHorizon(2).project_subgradient(torch.ones(2), torch.ones(3)), "g has"),
        (lambda: maps.LpHorizon(2).is_subgradient(torch.ones(2), torch.ones(2), "x"), "rtol"),
        (lambda: maps.LevelHorizon(3), "map = 3"),
        (lambda: maps.assign(maps.Cosh(), 3), "names"),
        (lambda: maps.assign({3: maps.Cosh()}, ["w"]), "mirror_map"),
        (lambda: maps.describe(3), "mirror_map = 3"),
    ],
)
def test_bad_arguments_are_named(call, word: str) -> None:
    with pytest.raises((ValueError, TypeError), match=word):
        call()


def test_arrays_are_tensors() -> None:
    x = np.array([0.5, -2.0])
    for mirror_map in (maps.Power(3), maps.Cosh(), maps.PNorm(3), maps.HyperbolicEntropy()):
        assert torch.equal(mirror_map.to_dual(x), mirror_map.to_dual(torch.tensor(x)))
        assert mirror_map.step(x, np.array([0.1, 0.2])).dtype == torch.float64


def test_what_overflows_is_infinite_and_not_nan() -> None:
    huge = torch.full((6, 2), 1e300)
    dual = maps.Spectral(maps.Power(3)).to_dual(huge)
    assert bool(dual.isinf().any())
    assert not bool(dual.isnan().any())
    own = maps.Custom(gradient=lambda x: x + x**3)
    assert bool((own.conjugate_entries(huge) == torch.inf).all())
    assert maps.LevelHorizon(maps.Mixed(), 1e9).subgradient(torch.tensor(1.0)) == 1.0
