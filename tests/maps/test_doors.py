"""What is refused, with the argument, the value and what is allowed in the message."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from every_map import ALL, kinds, plain

from mirrorflow import maps
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import parse_map


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: maps.Power(1), r"p = 1 .*choose 1 < p < inf"),
        (lambda: maps.Power(0.5), r"p = 0.5 "),
        (lambda: maps.Power(math.inf), r"p = inf "),
        (lambda: maps.Power(math.nan), r"p = nan "),
        (lambda: maps.PNorm(1), r"p = 1 "),
        (lambda: maps.HyperbolicEntropy(0), r"beta = 0 .*0 < beta < inf"),
        (lambda: maps.HyperbolicEntropy(-1), r"beta = -1 "),
        (lambda: maps.Logarithmic(math.inf), r"beta = inf "),
        (lambda: maps.Cosh(0), r"scale = 0 "),
        (lambda: maps.Mixed(1, 1, 1), r"p = 1 "),
        (lambda: maps.Mixed(3, -1, 1), r"a = -1 .*0 <= a < inf"),
        (lambda: maps.Mixed(3, 1, math.nan), r"b = nan "),
        (lambda: maps.Mixed(3, 0, 0), r"a = 0 and b = 0"),
        (lambda: maps.Scaled(maps.Quadratic(), 0), r"weight = 0 "),
        (lambda: maps.LpHorizon(0.5), r"p = 0.5 .*\[1, inf\]"),
        (lambda: maps.SchattenHorizon(0), r"p = 0 "),
    ],
)
def test_parameters_out_of_range(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: maps.Power("3"), r"p = '3' is a str"),
        (lambda: maps.Power(True), r"p = True is a bool"),
        (lambda: maps.HyperbolicEntropy(1j), r"beta = 1j is a complex"),
        (lambda: maps.Mixed(3, None, 1), r"a = None "),
        (lambda: maps.Spectral(3), r"map = 3 .*separable"),
        (lambda: maps.Spectral(maps.NegativeEntropy()), r"map = NegativeEntropy\(\) .*even"),
        (lambda: maps.Scaled(maps.PNorm(3), 2.0), r"map = PNorm\(p=3.0\) is not separable"),
        (lambda: maps.SimplexEntropy(1.5), r"dim = 1.5 "),
        (lambda: maps.Custom(), r"either gradient= .*or potential="),
        (lambda: maps.Custom(gradient=3), r"gradient = 3 is not callable"),
        (lambda: maps.assign(3, ["w"]), r"mirror_map is a int"),
    ],
)
def test_wrong_types(make: Callable[[], object], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make()


EVERY = kinds(ALL)


@pytest.mark.parametrize("mirror_map", EVERY, ids=repr)
@pytest.mark.parametrize(
    "method", ["to_dual", "to_primal", "potential", "conjugate", "dual_energy", "require_domain"]
)
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool], ids=str)
def test_tensors_that_are_not_real_floats(
    mirror_map: maps.MirrorMap, method: str, dtype: torch.dtype
) -> None:
    with pytest.raises(TypeError, match=rf"^[xu] has dtype {dtype}.*float64"):
        getattr(mirror_map, method)(torch.ones(2, 2).to(dtype))


@pytest.mark.parametrize("mirror_map", EVERY, ids=repr)
def test_step_and_bregman_name_the_bad_argument(mirror_map: maps.MirrorMap) -> None:
    good, bad = torch.full((2, 2), 0.5), torch.ones(2, 2, dtype=torch.int32)
    with pytest.raises(TypeError, match=r"^x has dtype torch.int32"):
        mirror_map.step(bad, good)
    with pytest.raises(TypeError, match=r"^delta has dtype torch.int32"):
        mirror_map.step(good, bad)
    with pytest.raises(TypeError, match=r"^x has dtype torch.int32"):
        mirror_map.bregman(bad, good)
    with pytest.raises(TypeError, match=r"^y has dtype torch.int32"):
        mirror_map.bregman(good, bad)
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor, got list"):
        mirror_map.to_dual([1.0])


@pytest.mark.parametrize("mirror_map", [maps.NegativeEntropy(), maps.SimplexEntropy()], ids=repr)
def test_no_horizon_and_it_says_so(mirror_map: maps.MirrorMap) -> None:
    with pytest.raises(NoHorizonError, match=r"no (index and no )?horizon"):
        mirror_map.horizon()
    with pytest.raises(NoHorizonError, match=r"no (index and no )?horizon"):
        maps.finite_gauge(mirror_map, torch.ones(2), 10.0)


def test_domains() -> None:
    maps.NegativeEntropy().require_domain(torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"w has a negative entry \(-1\).*HyperbolicEntropy"):
        maps.NegativeEntropy().require_domain(torch.tensor([-1.0, 1.0]), "w")
    maps.SimplexEntropy(0).require_domain(torch.tensor([0.25, 0.75]))
    for bad in ([0.5, 0.6], [-0.5, 1.5], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="is not on the simplex along dim = -1"):
            maps.SimplexEntropy().require_domain(torch.tensor(bad))
    with pytest.raises(ValueError, match="lacks dim = 3"):
        maps.SimplexEntropy(3).require_domain(torch.tensor([0.25, 0.75]))


def test_not_diagonal() -> None:
    for mirror_map in (maps.PNorm(3), maps.Spectral(maps.Power(3)), maps.SimplexEntropy()):
        with pytest.raises(NotImplementedError, match="not a diagonal"):
            mirror_map.hessian(torch.ones(2, 2))


def test_levels() -> None:
    for level in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"level = {level} is not a level"):
            maps.finite_gauge(maps.HyperbolicEntropy(), torch.ones(2), level)
    with pytest.raises(ValueError, match=r"level = 1e\+307 is not reached"):
        maps.finite_gauge(maps.DoubleExponential(), torch.ones(2), 1e307)


@pytest.mark.parametrize("mirror_map", plain(EVERY, maps.Custom), ids=repr)
def test_text_is_read_back(mirror_map: maps.MirrorMap) -> None:
    assert parse_map(repr(mirror_map)) == mirror_map
    assert parse_map(repr(mirror_map).lower()) == mirror_map
    assert parse_map(mirror_map) is mirror_map


def test_spellings() -> None:
    assert parse_map("Hyperbolic-Entropy( beta = 1e-2 )") == maps.HyperbolicEntropy(0.01)
    assert parse_map("power(4/3)") == maps.Power(4 / 3)
    assert parse_map("spectral(power(3))") == maps.Spectral(maps.Power(3))
    assert parse_map("simplex_entropy(dim=-2)") == maps.SimplexEntropy(-2)
    assert parse_map("QUADRATIC") == maps.Quadratic()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", r"'foo' .*quadratic, power, hyperbolic_entropy, .*simplex_entropy"),
        ("power", r"power needs p"),
        ("power(q=3)", r"power has no parameter q; it has p"),
        ("power(3, 4)", r"power takes at most 1"),
        ("power(1)", r"p = 1 .*1 < p < inf"),
        ("power(x)", r"'x' "),
        ("power('3')", r"not a number"),
        ("power(1/0)", r"1 / 0"),
        ("custom(x)", r"custom.*in Python"),
        ("3", r"'3' is not a map"),
        ("", r"'' is not a map"),
        ("import os", r"is not a map"),
        ("__import__('os')", r"__import__"),
        ("power(**{})", r"is not a map"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_map(text)
    with pytest.raises(TypeError, match="text is a int"):
        parse_map(3)


@pytest.mark.parametrize(
    "call",
    [lambda: maps.estimate_horizon(3), lambda: maps.finite_gauge(3, torch.ones(2), 10.0)],
)
def test_a_number_is_no_map(call) -> None:
    with pytest.raises(TypeError, match="mirror_map = 3 is not a MirrorMap"):
        call()


def test_the_text_of_a_map_is_taken_for_the_map() -> None:
    x, cosh = torch.tensor([0.5, -2.0]), maps.Cosh(0.5)
    assert maps.finite_gauge("cosh(0.5)", x, 10.0) == maps.finite_gauge(cosh, x, 10.0) > 0.5
    assert maps.estimate_horizon("power(3)").order == pytest.approx(3)
    assert maps.LevelHorizon("cosh(0.5)").map == cosh
    assert maps.assign({"a": "cosh(0.5)", "*": "quadratic"}, ["a", "b"]) == {
        "a": cosh,
        "b": maps.Quadratic(),
    }
    with pytest.raises(ValueError, match=r"mirror_map\['a'\].*cubic"):
        maps.assign({"a": "cubic", "*": "quadratic"}, ["a", "b"])
