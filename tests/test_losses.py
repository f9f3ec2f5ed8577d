"""Losses in the log domain against mpmath and torch's own, in value and in gradient."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mirrorflow.losses import log_loss, log_loss_per_point, log_softplus, margins, pairwise_margins


def exact(outputs: list[list[float]], y: list[int], loss: str) -> tuple[mpmath.mpf, list[float]]:
    """`log mean ℓ` and its gradient for the first point's outputs, at 50 digits."""
    with mpmath.workdps(50):
        ell, grads = [], []
        for f, label in zip(outputs, y, strict=True):
            e = {k: mpmath.exp(mpmath.mpf(v) - f[label]) for k, v in enumerate(f) if k != label}
            s = sum(e.values())
            slope = 1 if loss == "exponential" else 1 / (1 + s)
            ell.append(s if loss == "exponential" else mpmath.log1p(s))
            grads.append([slope * e[k] if k != label else -slope * s for k in range(len(f))])
        total = sum(ell)
        return mpmath.log(total / len(y)), [float(g / total) for g in grads[0]]


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 3e-15), (torch.float32, 2e-6)])
@pytest.mark.parametrize("loss", ["exponential", "cross_entropy"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 30.0, 120.0, 1e3, 4e6])
def test_value_and_gradient_at_any_loss(
    loss: str, scale: float, dtype: torch.dtype, tol: float
) -> None:
    base = torch.tensor([[1.0, 0.0, -0.5], [0.25, 1.25, 0.5], [1.0, 0.5, 1.5]])
    outputs = (scale * base).to(dtype).requires_grad_()
    y = torch.tensor([0, 1, 2])
    value = log_loss(outputs, y, loss)  # type: ignore[arg-type]
    (grad,) = torch.autograd.grad(value, outputs)
    want, want_grad = exact(outputs.tolist(), [0, 1, 2], loss)
    assert value.item() == pytest.approx(float(want), rel=tol, abs=tol)
    assert grad[0].tolist() == pytest.approx(want_grad, rel=5 * tol, abs=tol)


@given(st.floats(-1e4, 1e4))
def test_log_softplus_and_its_slope(a: float) -> None:
    at = torch.tensor(a, requires_grad=True)
    value = log_softplus(at)
    value.backward()
    with mpmath.workdps(50):
        s = mpmath.log1p(mpmath.exp(a)) if a < 700 else mpmath.mpf(a)
        slope = 1 / (1 + mpmath.exp(-a)) / s
        assert value.item() == pytest.approx(float(mpmath.log(s)), rel=4e-15, abs=4e-15)
    assert at.grad is not None
    assert at.grad.item() == pytest.approx(float(slope), rel=1e-13)


def test_agrees_with_torch_where_torch_can() -> None:
    outputs, y = torch.randn(50, 7), torch.randint(7, (50,))
    want = torch.nn.functional.cross_entropy(outputs, y).log()
    assert log_loss(outputs, y).item() == pytest.approx(want.item(), rel=1e-13)
    summed = log_loss(outputs, y, reduction="sum")
    assert summed.exp().item() == pytest.approx(50 * want.exp().item(), rel=1e-12)


def test_two_classes_are_the_binary_net() -> None:
    f, y = torch.randn(20), torch.where(torch.randn(20) > 0, 1, -1)
    two = torch.stack([torch.zeros(20), f], 1)
    for loss in ("exponential", "logistic"):
        one = log_loss(f, y, loss)  # type: ignore[arg-type]
        assert one.item() == pytest.approx(log_loss(two, (y + 1) // 2, loss).item(), rel=1e-14)  # type: ignore[arg-type]


def test_margins_are_the_smallest_pairwise_differences() -> None:
    outputs = torch.tensor([[3.0, 1.0, 2.0], [0.0, -1.0, 5.0]])
    y = torch.tensor([0, 1])
    assert pairwise_margins(outputs, y).tolist() == [[2.0, 1.0], [-1.0, -6.0]]
    assert margins(outputs, y).tolist() == [1.0, -6.0]
    assert margins(torch.tensor([2.0, 3.0]), torch.tensor([-1, 1])).tolist() == [-2.0, 3.0]


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(ValueError, match="'hinge' is unknown; choose one of"):
        log_loss(torch.ones(2), torch.ones(2), "hinge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduction = 'max'"):
        log_loss(torch.ones(2), torch.ones(2), reduction="max")  # type: ignore[arg-type]


def test_labels_are_checked_where_training_starts() -> None:
    with pytest.raises(ValueError, match=r"labels -1 and \+1 \(from 0/1: 2\*y - 1\)"):
        log_loss(torch.randn(3), torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=r"integer labels 0 \.\.\. 2"):
        log_loss(torch.randn(3, 3), torch.tensor([0, 1, 5]))
    with pytest.raises(ValueError, match=r"y has shape \(2,\)"):
        log_loss(torch.randn(3), torch.tensor([1, -1]))


def test_one_column_is_a_binary_net() -> None:
    f, y = torch.randn(5), torch.tensor([1, -1, 1, 1, -1])
    assert log_loss(f[:, None], y).item() == log_loss(f, y).item()
    assert torch.equal(margins(f[:, None], y), margins(f, y))


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e150])
def test_the_square_loss_in_the_log_domain(scale: float) -> None:
    residuals = torch.tensor([[0.3, -0.4], [1.2, 0.5]], dtype=torch.float64)
    f = (scale * residuals).requires_grad_()
    y = torch.zeros_like(residuals)
    value = log_loss(f, y, "square")
    (grad,) = torch.autograd.grad(value, f)
    want = math.log(0.5 * (0.25 + 1.69) / 2) + 2 * math.log(scale)
    assert value.item() == pytest.approx(want, rel=1e-14)
    assert (grad * scale).numpy() == pytest.approx(residuals.numpy() / 0.97, rel=1e-13)
    each = log_loss_per_point(f.detach(), y, "square")
    assert each.tolist() == pytest.approx(
        [math.log(0.125) + 2 * math.log(scale), math.log(0.845) + 2 * math.log(scale)]
    )
    one = log_loss(f.detach()[:, :1], y[:, 0], "square", reduction="sum")
    assert one.item() == pytest.approx(math.log(0.765) + 2 * math.log(scale))


def test_a_perfect_fit_has_no_slope() -> None:
    f = torch.tensor([0.5, 2.0], requires_grad=True)
    value = log_loss(f, f.detach(), "square")
    value.exp().backward()
    assert value.item() == -math.inf
    assert f.grad is not None
    assert f.grad.tolist() == [0.0, 0.0]


def test_class_labels_are_no_targets() -> None:
    with pytest.raises(TypeError, match=r"dtype torch.int64, as class labels have"):
        log_loss(torch.randn(3), torch.tensor([1, -1, 1]), "square")
    with pytest.raises(ValueError, match=r"one target an output, shape \(3, 2\)"):
        log_loss(torch.randn(3, 2), torch.randn(3), "square")
    with pytest.raises(ValueError, match="NaN or infinity, first in point 1"):
        log_loss(torch.randn(2), torch.tensor([1.0, math.nan]), "square")
