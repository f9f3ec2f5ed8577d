"""Maps inside torch.compile, under vmap, with gradients, and with half of a net on each map."""

from __future__ import annotations

import pytest
import torch
from every_map import ALL, SEPARABLE, kinds, plain

from mirrorflow import maps

TABLE = kinds(plain(ALL, maps.Spectral, maps.Custom))


@pytest.mark.parametrize("mirror_map", TABLE, ids=repr)
def test_traces_as_one_graph(mirror_map: maps.MirrorMap) -> None:
    x = torch.softmax(torch.randn(2, 20), -1)
    delta = 0.1 * torch.randn(2, 20)

    def both(x: torch.Tensor, delta: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return mirror_map.to_dual(x), mirror_map.to_primal(delta), mirror_map.step(x, delta)

    torch.compiler.reset()  # the recompile limit is per function, and this one is made anew
    compiled = torch.compile(both, backend="eager", fullgraph=True)
    for got, want in zip(compiled(x, delta), both(x, delta), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_no_digits_are_lost_under_inductor() -> None:
    """The CPU code that inductor writes for expm1 has none of a small argument's digits."""
    torch.compiler.reset()
    chosen = [maps.Logarithmic(0.1), maps.Power(3.3), maps.HyperbolicEntropy(1e-2)]
    x = 10 ** torch.linspace(-9, 1, 64, dtype=torch.float32)
    delta = -1e-9 * torch.ones(64, dtype=torch.float32)

    def all_of_them(x: torch.Tensor, delta: torch.Tensor) -> list[torch.Tensor]:
        steps = [mirror_map.step(x, delta) for mirror_map in chosen]
        return steps + [mirror_map.to_primal(x) for mirror_map in chosen]

    compiled = torch.compile(all_of_them, fullgraph=True)(x, delta)
    for got, want in zip(compiled, all_of_them(x.double(), delta.double()), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=6e-7, atol=0)


@pytest.mark.parametrize("mirror_map", TABLE, ids=repr)
def test_derivatives_of_every_method(mirror_map: maps.MirrorMap) -> None:
    x = torch.softmax(torch.randn(2, 3), -1).requires_grad_()
    delta = (0.02 * torch.randn(2, 3)).requires_grad_()
    for method in (mirror_map.to_dual, mirror_map.to_primal, mirror_map.potential):
        assert torch.autograd.gradcheck(method, (x,))
    assert torch.autograd.gradcheck(mirror_map.step, (x, delta))
    assert torch.autograd.gradcheck(mirror_map.bregman, (x, (x * 1.1).detach()))
    far = (delta.detach() * 1e3).requires_grad_()
    assert torch.autograd.gradcheck(mirror_map.step, (x, far), atol=1e-4)


@pytest.mark.parametrize("mirror_map", kinds(plain(SEPARABLE, maps.Custom)), ids=repr)
def test_vmap(mirror_map: maps.MirrorMap) -> None:
    x, delta = torch.randn(4, 5), torch.randn(4, 5)
    together = torch.func.vmap(mirror_map.step)(x, delta)
    torch.testing.assert_close(together, mirror_map.step(x, delta))


def test_a_map_for_each_layer() -> None:
    names = ["in.weight", "in.bias", "mid.weight", "out.weight"]
    chosen = {"in": maps.Power(3), "out.weight": maps.Cosh(), "*": maps.Quadratic()}
    found = maps.assign(chosen, names)
    assert found == {
        "in.weight": maps.Power(3),
        "in.bias": maps.Power(3),
        "mid.weight": maps.Quadratic(),
        "out.weight": maps.Cosh(),
    }
    with pytest.raises(ValueError, match=r"names no map for the parameter 'mid\.weight'"):
        maps.assign({"in": maps.Power(3), "out": maps.Cosh()}, names)
    with pytest.raises(ValueError, match="covers no parameter"):
        maps.assign({"*": maps.Power(3), "head": maps.Cosh()}, names)
