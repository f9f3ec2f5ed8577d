"""Certificates: which max-margin problem a network solves, and how well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.checks import as_flag, as_integer, as_number
from mirrorflow.diagnostics.geometry import Block, Geometry, check_finite, check_tensors, geometry
from mirrorflow.diagnostics.kkt.certificate import Certificate, CertificateFit
from mirrorflow.diagnostics.kkt.cone import KinkCone, fit_cone
from mirrorflow.diagnostics.kkt.dual_norm import dual_norm
from mirrorflow.diagnostics.kkt.duality import least_dual_norm, most_generators
from mirrorflow.diagnostics.kkt.gradients import (
    find_kinks,
    kink_gradients,
    margin_gradients,
)
from mirrorflow.diagnostics.kkt.ladder import BANDS, TOLERANCES, Ladder
from mirrorflow.diagnostics.kkt.multipliers import apply
from mirrorflow.diagnostics.kkt.selection import Chosen, Problem, select
from mirrorflow.diagnostics.kkt.subdifferential import Subdifferential, subdifferential
from mirrorflow.diagnostics.laws import residual_scale
from mirrorflow.diagnostics.margin import batched_margins
from mirrorflow.diagnostics.structure import Structure, structure
from mirrorflow.errors import NoHorizonError, NotHomogeneousError
from mirrorflow.labels import as_labels
from mirrorflow.losses import output_classes
from mirrorflow.maps import Horizon, HorizonLike, LpHorizon, MapLike
from mirrorflow.nets import check_degree
from mirrorflow.nets.evaluate import copied, largest, trained_parameters, undisturbed
from mirrorflow.progress import progress_bar

__all__ = ["certify"]


@undisturbed
def certify(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    mirror_map: MapLike | HorizonLike,
    *,
    band: float | None = None,
    max_margins: int = 2000,
    memory: float = 2.0,
    zero_tolerance: float | None = None,
    kink_tolerance: float = 1e-6,
    max_kinks: int = 2000,
    batch_size: int = 4096,
    progress: bool = False,
) -> Certificate:
    """Measure how far θ is from a KKT point of the max-margin problem of its mirror map.

    The flow of a mirror map with horizon function Q tends, in direction, to a KKT point of

        minimise Q(θ)  subject to  q_i(θ) >= 1:   s = Σ λ_i ∇q_i(θ), s ∈ ∂Q(θ), λ_i (q_i − 1) = 0.

    An (ε, δ) certificate scales θ to min q = 1 and fits λ >= 0 by bounded least squares,
    together with the free part of the subdifferential (zero entries at ℓ1, maximal entries at
    ℓ∞, singular values likewise) and, at ReLU kinks, a derivative in [0, 1] per unit and point
    (times λ_i it is linear; kinks of one point in different layers are varied one at a time).

    Three numbers measure the three conditions: ε stationarity, δ complementarity, and κ (`slack`)
    how far s is from the subdifferential at θ itself: entries that are small but not zero may
    be treated as free, which is exact for a nearby point, and costs `κ = 1 − ⟨s, θ⟩/Q(θ)`.
    Wide bands of margins lower ε and raise δ, loose tolerances lower ε and raise κ. Several are
    tried and reported. Then one conic program minimises `max(ε, δ, κ)` over all λ and s, and
    among equal maxima the sum: no λ and s have all three smaller. `at_best` says whether it
    was solved; above about 400 margins and kinks, at Schatten norms of order 1 and ∞, and where
    margins or kinks were left out, the certificate is the best of those tried. With a given
    `band` δ does not enter the maximum. θ and cθ have the same certificate.

    ε is a Euclidean distance. Beside it stands `duality_gap`, which measures in the norm of the
    problem and needs no tolerance: `1 − L min q/max_v min_i ⟨∇q_i(θ), v⟩` over `Q(v) <= Q(θ)`, the
    share of the margin that a first-order change could still win. It is 0 exactly at KKT points,
    and for a linear net it is `1 − margin/(largest margin)`. Convex duality gives it as the
    smallest `Q°(Σ μ_i ∇q_i)`, over `μ >= 0, Σ μ = 1` and the kinks.

    Frozen parameters (`requires_grad=False`) are constants of the net: θ, L and Q are those of the
    others. All is computed in float64 on a copy, in every grad mode; the net is left as it was.

    Args:
        net: a homogeneous net; (n,) or (n, 1) outputs for labels ±1, (n, C) for class indices.
        x: (n, …) points.
        y: (n,) labels.
        mirror_map: one map, or a mapping from parameter names to maps: then
            `Q^L = Π_g Q_g^{k_g}` over the maps. Or a horizon itself, where no map is meant:
            `LpHorizon(p)`, `SchattenHorizon(p)`, `MaxOverTensors(horizon)`.
        band: fit multipliers to margins `q <= (1 + band) min q` only.
        max_margins: at most so many margins enter the fit, the smallest ones.
        memory: GiB for their gradients; above it float32 is used, then fewer margins.
        zero_tolerance: relative size of an entry (singular value) that counts as zero at ℓ1, as
            maximal from 1 − it on at ℓ∞; None tries 1e-6 to 0.3.
        kink_tolerance: relative size of a ReLU input that counts as zero.
        max_kinks: at most so many kinks enter, those of the largest influence.
        batch_size: points at a time.
        progress: show a bar over the fits.

    Returns:
        A `Certificate`; if the net does not separate the points, one that says so.

    Raises:
        NotHomogeneousError: `f(cθ; x) = c^L f(θ; x)` fails; the message names what breaks it.
        NoHorizonError: the map has no horizon function.
        ValueError: labels neither ±1 nor class indices, NaN parameters, dropout in train mode,
            zero parameters, all parameters frozen, weights that are computed (pruning masks,
            weight norm), a band or tolerance out of range, or a horizon that does not fit.

    Source: arXiv 2605.19458; (ε, δ)-KKT: Lyu & Li, ICLR 2020, and Dutta et al. 2013.
    """
    if band is not None:
        band = as_number(band, "band", least=0.0)
    if zero_tolerance is not None:
        zero_tolerance = as_number(zero_tolerance, "zero_tolerance", above=0.0, below=0.5)
    given = _Options(
        band,
        as_integer(max_margins, "max_margins", least=1),
        as_number(memory, "memory", above=0.0, most=1e6),
        zero_tolerance,
        as_number(kink_tolerance, "kink_tolerance", above=0.0, below=0.5),
        as_integer(max_kinks, "max_kinks", least=0),
        as_integer(batch_size, "batch_size", least=1),
        as_flag(progress, "progress"),
    )
    return _certify(net, x, y, mirror_map, given)


class _Options(NamedTuple):
    """The arguments of `certify` that have a default."""

    band: float | None
    max_margins: int
    memory: float
    zero_tolerance: float | None
    kink_tolerance: float
    max_kinks: int
    batch_size: int
    progress: bool


def _certify(
    net: nn.Module, x: Tensor, y: Tensor, mirror_map: MapLike | HorizonLike, given: _Options
) -> Certificate:
    band, max_margins, memory, zero_tolerance, kink_tolerance, max_kinks, batch_size, progress = (
        given
    )
    check_finite(net)
    model = copied(net, torch.float64)
    x, y = check_tensors(model, x, y)
    with torch.no_grad():
        log_peak = _shrink(model)
        found = _verified(model, x)
        shape = geometry(model, mirror_map, found=found)
        parameters, log_gauge = shape.normalise(trained_parameters(model))
    q = batched_margins(model, parameters, x, y, batch_size)
    with torch.no_grad():
        classes = output_classes(model(x[:1]))
    y = as_labels(y, classes, points=len(x))
    problem = Problem(model, parameters, shape, x, y, q, classes)
    log_gauge += log_peak
    least = float(q.min())
    head: dict[str, Any] = {
        "degree": shape.degree,
        "separated": least > 0,
        "misclassified": int((q.amin(1) <= 0).sum()),
        "joint": shape.joint,
        "problem": _describe(shape),
        "margin": least,
        "product_margin": _product_margin(problem, found),
        "log_gauge": log_gauge,
        "points": len(x),
        "expected": _expected(shape, log_gauge, least),
        "fixed": tuple(name for name, p in net.named_parameters() if not p.requires_grad),
    }
    natural = torch.softmax(-_scaled(q - least, shape.degree * log_gauge).reshape(-1), 0)
    natural = natural.reshape(q.shape)
    if least <= 0:
        return Certificate(
            **head,
            multipliers=problem.place(torch.zeros_like(q)),
            support=torch.zeros(0, dtype=torch.long),
            natural_multipliers=problem.place(natural),
        )
    with _frozen(model), progress_bar(progress, 5, "certificate") as bar:
        nature = problem.gradient(natural / least)
        shape = _with_degrees(problem, nature)
        problem = replace(problem, shape=shape)
        targets = _targets(shape, parameters, zero_tolerance)
        chosen = select(problem, BANDS[-1] if band is None else band, max_margins, memory)
        bar.set_postfix_str("gradients and kinks")
        cone, more_kinks = _cone(problem, chosen, kink_tolerance, max_kinks)
        bar.update(1)
        bar.set_postfix_str("fits of several bands and tolerances")
        theta = torch.cat([p.reshape(-1) for p in parameters.values()]).cpu().numpy()
        ladder = Ladder(cone, targets, chosen.ratio, theta, 1.0 if shape.joint else shape.degree)
        best = ladder.climb(BANDS if band is None else (band,))
        bar.update(1)
        bar.set_postfix_str("the conic program")
        best, at_best = ladder.improve(best, band)
        bar.update(1)
        values = torch.zeros_like(q)
        values[chosen.point, chosen.column] = torch.from_numpy(best.multipliers).to(q)
        g = best.fit.element - best.fit.residual
        nature_fit = fit_cone(KinkCone.plain(nature[None]), targets[best.rung.tolerance])
        bar.update(1)
        bar.set_postfix_str("the duality gap")
        bounds = [
            problem.duality_gap(g, float(best.multipliers.sum())),
            problem.duality_gap(nature, 1.0),
        ]
        duality, whole = _duality_gap(problem, cone, best.multipliers, given)
        bar.update(1)
    factor = math.exp(-math.log(least) / shape.degree) if shape.joint else 1.0
    shares = values.sum(1)
    order = torch.argsort(shares, descending=True, stable=True)
    return Certificate(
        **head,
        epsilon=best.rung.epsilon,
        delta=best.rung.delta,
        slack=best.rung.slack,
        multipliers=problem.place(values * factor),
        support=order[shares[order] > 1e-6 * shares.sum()].cpu(),
        natural_multipliers=problem.place(natural),
        natural_epsilon=nature_fit.epsilon,
        gap=problem.holder_gap(g),
        natural_gap=problem.holder_gap(nature),
        duality_gap=min(duality, *bounds),
        fit=CertificateFit(
            considered=best.rung.rows,
            left_out=chosen.left_out,
            cut=chosen.cut,
            band=best.rung.band,
            zero_tolerance=best.rung.tolerance,
            tradeoff=ladder.rungs,
            free=targets[best.rung.tolerance].free,
            kinks=len(cone.owner),
            more_kinks=more_kinks,
            kink_tolerance=kink_tolerance,
            at_best=at_best and chosen.left_out == 0 and not more_kinks,
            gap_at_best=whole and not more_kinks,
        ),
    )


def _with_degrees(problem: Problem, g: Array) -> Geometry:
    """The geometry, with a degree for tensors that have none of their own (a layer and its bias).

    The largest over tensors has the subgradients `Σ_b c_b s_b`, and at a KKT point
    `c_b = ⟨g_b, W_b⟩/⟨g, θ⟩`, which Euler makes `k_b/L` where the net has a degree in `W_b`.
    """
    shape = problem.shape
    group = shape.groups[0]
    known = all(block.degree == block.degree for block in group.blocks)
    if known or not shape.joint or not math.isinf(group.alpha):
        return shape
    parts = problem.parts(g)
    shares = [
        max(0.0, math.fsum(float((parts[k] * problem.parameters[k]).sum()) for k in block.names))
        for block in group.blocks
    ]
    total = math.fsum(shares) or 1.0
    blocks = tuple(
        replace(block, degree=shape.degree * share / total)
        for block, share in zip(group.blocks, shares, strict=True)
    )
    return replace(shape, groups=(replace(group, blocks=blocks),))


def _duality_gap(
    problem: Problem, cone: KinkCone, start: Array, given: _Options
) -> tuple[float, bool]:
    """The smallest gap over all multipliers, and whether every margin and kink took part."""
    sizes = {name: tuple(p.shape) for name, p in problem.parameters.items()}
    norm, margins = dual_norm(problem.shape, sizes), problem.q.numel()
    if norm is None:
        return 1.0, False
    room = most_generators(sum(p.numel() for p in problem.parameters.values()))
    more = False
    if len(cone.base) < min(margins, given.max_margins, room):  # those beyond the widest band
        chosen = select(problem, math.inf, min(given.max_margins, room), given.memory)
        cone, more = _cone(problem, chosen, given.kink_tolerance, given.max_kinks)
        start = np.append(start, np.zeros(max(0, len(cone.base) - len(start))))
    count = len(cone.base)
    while (part := cone.head(count)).size > room and count > 1:
        count = max(1, int(0.8 * count))
    if part.size > room:
        return 1.0, False
    y = least_dual_norm(part, norm, start[:count])
    g = apply(part.base, y[:count])
    if len(part.owner):
        g = g + apply(part.extra, y[count:])
    return problem.duality_gap(g, float(y[:count].sum())), count == margins and not more


def _cone(problem: Problem, chosen: Chosen, tolerance: float, limit: int) -> tuple[KinkCone, bool]:
    """Generators `∇q/min q` of the cone, with their kinks, and whether there were more."""
    rows = problem.rows(chosen.point, chosen.column)
    least = float(problem.q.min())
    kinks = find_kinks(problem.net, problem.parameters, rows, tolerance)
    if len(kinks.row) == 0 or limit == 0:
        base = margin_gradients(problem.net, problem.parameters, rows, chosen.dtype)
        base /= least
        return KinkCone.plain(base), len(kinks.row) > 0
    base, extra, owner = kink_gradients(
        problem.net, problem.parameters, rows, kinks, chosen.dtype, limit
    )
    more = len(owner) > limit
    return KinkCone(base / least, extra[:limit] / least, owner[:limit]), more


def _targets(
    shape: Geometry, parameters: dict[str, Tensor], tolerance: float | None
) -> dict[float, Subdifferential]:
    """The subdifferential per tolerance; one where nothing is set-valued."""
    tolerances = TOLERANCES if tolerance is None else (tolerance,)
    first = subdifferential(shape, parameters, tolerances[0])
    loosest = subdifferential(shape, parameters, tolerances[-1])
    if loosest.is_point:
        return {tolerances[0]: first}
    return {t: subdifferential(shape, parameters, t) for t in tolerances}


def _verified(net: nn.Module, x: Tensor) -> Structure:
    """Declared degrees, checked against measured ones."""
    sample = x[:16]
    measured = check_degree(net, sample)
    found = structure(net, sample)
    if abs(found.degree - measured.total) > 1e-6 * measured.total:
        raise NotHomogeneousError(
            f"{type(net).__name__} declares degree {found.degree:g}, but f(cθ; x) grows like "
            f"c^{measured.total:g}; correct its layer_degrees",
            state=measured,
        )
    return found


def _shrink(net: nn.Module) -> float:
    """Divide the trained parameters by the largest entry; its logarithm."""
    parameters = trained_parameters(net)
    peak = largest(parameters.values())
    if peak == 0:
        raise ValueError("net: all parameters are zero: there is no direction to certify")
    for p in parameters.values():
        p.div_(peak)
    return math.log(peak)


def _scaled(excess: Tensor, log_scale: float) -> Tensor:
    scale = math.exp(log_scale) if log_scale < 709 else math.inf
    return torch.where(excess == 0, excess, excess * scale)


def _product_margin(problem: Problem, found: Structure) -> float | None:
    """`min q/Π_l Q_l(W_l)^{k_l}`, every layer measured by its own map."""
    owner = {name: group for group in problem.shape.groups for name in group.names}
    names = {name for layer in found.layers for name in layer.names}
    if names != set(problem.parameters):
        return None
    log = 0.0
    for layer in found.layers:
        group = owner[layer.name]
        together = len(layer.names) > 1
        if together and (not group.whole or len({owner[k] for k in layer.names}) > 1):
            return None
        horizon = next(b.horizon for b in group.blocks if layer.name in b.names)
        block = Block(layer.names, horizon, layer.degree)
        gauge = block.gauge(problem.parameters)
        if gauge == 0:
            return None
        log += layer.degree * math.log(gauge)
    return float(problem.q.min()) / math.exp(log)


def _expected(shape: Geometry, log_gauge: float, margin: float) -> float:
    """What `residual_scale` says of one map; NaN where there are several, or no law."""
    mirror_map = shape.groups[0].mirror_map
    if margin <= 0 or mirror_map is None or not shape.joint:
        return math.nan
    try:
        size = residual_scale(mirror_map, log_gauge, math.log(margin) + shape.degree * log_gauge)
    except (NoHorizonError, ValueError):
        return math.nan
    return size if size < 1 else math.nan  # early, or weights that were scaled: it says nothing


def _describe(shape: Geometry) -> str:
    words = []
    for group in shape.groups:
        inner = " and ".join(dict.fromkeys(_name(block.horizon) for block in group.blocks))
        if len(group.blocks) > 1:
            inner = f"ℓ{group.alpha:g} over tensors of {inner}"
        words.append(inner if shape.joint else f"({inner} of {', '.join(group.names)})")
        if not shape.joint:
            words[-1] += f"^{group.degree:g}"
    what = "Q(θ) = " + words[0] if shape.joint else "the product of " + " and ".join(words)
    return f"minimise {what} subject to q_i(θ) >= 1"


def _name(horizon: Horizon) -> str:
    """ "the ℓ2 norm of θ" for what has such a name, else the horizon's own text."""
    if isinstance(horizon, LpHorizon):
        return "the ℓ∞ norm" if horizon.p == math.inf else f"the ℓ{horizon.p:g} norm"
    return repr(horizon)


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """Gradients are taken with respect to given parameters only."""
    for p in net.parameters():
        p.requires_grad_(False)
    with torch.enable_grad():
        yield
