"""Labels as people have them: every integer type means the same, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mirrorflow import maps
from mirrorflow.data import Dataset, check_points
from mirrorflow.diagnostics import certify, margin
from mirrorflow.exact import (
    local_two_layer_max_margin,
    max_margin,
    two_layer_max_margin,
)
from mirrorflow.flow import mirror_flow
from mirrorflow.labels import as_labels, read_labels
from mirrorflow.losses import (
    check_labels,
    log_loss,
    log_loss_per_point,
    margins,
    output_classes,
    pairwise_margins,
)
from mirrorflow.maps import LpHorizon
from mirrorflow.nets import Linear

SIGNED = [torch.int8, torch.int16, torch.int32, torch.int64]
UNSIGNED = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SIGNS = torch.tensor([1, -1, -1, 1])
CLASSES = torch.tensor([2, 0, 1, 2])


def every_way(labels: torch.Tensor, dtypes: list[torch.dtype]) -> list[Any]:
    """The same labels in all types, byte orders, shapes and containers."""
    array = labels.numpy()
    out: list[Any] = [labels.to(dtype) for dtype in dtypes]
    out += [labels[:, None], labels.tolist(), tuple(labels.tolist()), array[:, None]]
    out += [array.astype(kind) for kind in (">i2", "<i4", ">i8")]
    wide = np.zeros((len(array), 3), dtype=array.dtype)
    wide[:, 1] = array
    out += [wide[:, 1], np.asfortranarray(wide)[:, 1]]
    frozen = array.copy()
    frozen.flags.writeable = False
    return [*out, frozen]


@pytest.mark.parametrize("y", every_way(SIGNS, [*SIGNED, *FLOATS]))
def test_signs_in_any_type(y: Any) -> None:
    got = as_labels(y, None, points=4)
    assert got.dtype == torch.int64
    assert got.tolist() == [1, -1, -1, 1]


@pytest.mark.parametrize(
    "y", [*every_way(CLASSES, [*SIGNED, *UNSIGNED]), CLASSES.numpy().astype(">u8")]
)
def test_classes_in_any_type_everywhere(y: Any) -> None:
    assert as_labels(y, 3).tolist() == [2, 0, 1, 2]
    outputs = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 0.0], [0.0, 1.5, 1.0], [0.0, 0.5, 2.0]])
    assert margins(outputs, y).tolist() == [2.0, 2.0, 0.5, 1.5]
    assert pairwise_margins(outputs, y).tolist() == [[3, 2], [2, 3], [1.5, 0.5], [2, 1.5]]
    assert check_labels(outputs, y).tolist() == CLASSES.tolist()
    want = torch.nn.functional.cross_entropy(outputs, CLASSES, reduction="none").log()
    assert torch.allclose(log_loss_per_point(outputs, y), want)
    assert float(log_loss(outputs, y)) == pytest.approx(float(want.exp().mean().log()), rel=1e-12)


def test_classes_in_any_type_in_diagnostics_exact_and_data() -> None:
    x = torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0], [3.0, 0.5]])
    net = Linear(2, classes=3)
    with torch.no_grad():  # class 2 to the right, 0 up, 1 down
        net.weight.copy_(torch.tensor([[-1.0, 1.5], [-1.0, -1.5], [2.0, 0.0]]))
    q = maps.Quadratic()
    want = margin(net, x, CLASSES, q).margin
    assert want > 0.5
    exact = max_margin(x, CLASSES, LpHorizon(2), classes=3).margin
    assert exact >= want * (1 - 1e-12)
    for y in (CLASSES.to(torch.uint8), CLASSES.to(torch.int16), CLASSES.to(torch.uint64)):
        assert margin(net, x, y, q).margin == want
        assert certify(net, x, y, q).margin == pytest.approx(want, rel=1e-12)
        assert max_margin(x, y, LpHorizon(2), classes=3).margin == pytest.approx(exact, rel=1e-9)
        made = Dataset("mine", x, y, x[:0], y[:0], 3)
        assert made.y.tolist() == CLASSES.tolist()
        assert made.y.dtype == made.y_test.dtype == torch.int64


def test_signs_in_any_type_in_the_flow_and_two_layers() -> None:
    x = torch.tensor([[2.0, 0.5], [-1.0, -2.0], [-1.5, 0.0], [1.0, 1.0]])
    net = Linear(2)
    want = mirror_flow(net, x, SIGNS, maps.Quadratic(), log_t_end=2.0)
    two = two_layer_max_margin(x, SIGNS).margin
    assert two > 0.1
    for y in (SIGNS.to(torch.int8), SIGNS[:, None], SIGNS.float(), SIGNS == 1):
        assert mirror_flow(net, x, y, maps.Quadratic(), log_t_end=2.0).margin[-1] == want.margin[-1]
        assert two_layer_max_margin(x, y).margin == pytest.approx(two, rel=1e-9)
        local = local_two_layer_max_margin(x, y, LpHorizon(2), 2, starts=3).margin
        assert local == pytest.approx(two, rel=1e-5)


WRAPPED = SIGNS.to(torch.uint8)  # -1 becomes 255


@pytest.mark.parametrize(
    "call",
    [
        lambda y: as_labels(y, None),
        lambda y: check_labels(torch.randn(4), y),
        lambda y: log_loss(torch.randn(4), y),
        lambda y: log_loss_per_point(torch.randn(4), y),
        lambda y: margins(torch.randn(4), y),
        lambda y: pairwise_margins(torch.randn(4), y),
        lambda y: max_margin(torch.randn(4, 2), y, LpHorizon(2)),
        lambda y: two_layer_max_margin(torch.randn(4, 2), y),
        lambda y: local_two_layer_max_margin(torch.randn(4, 2), y, LpHorizon(2), 2),
        lambda y: margin(Linear(2), torch.randn(4, 2), y, maps.Quadratic()),
        lambda y: certify(Linear(2), torch.randn(4, 2), y, maps.Quadratic()),
        lambda y: mirror_flow(Linear(2), torch.randn(4, 2), y, maps.Quadratic(), log_t_end=1.0),
        lambda y: check_points(torch.randn(4, 2), y, None),
        lambda y: Dataset("mine", torch.randn(4, 2), y, torch.zeros(0, 2), SIGNS[:0], None),
    ],
)
def test_no_minus_one_that_wrapped_around(call: Any) -> None:
    with pytest.raises(ValueError, match=r"labels \[255\].*-1 wrapped around in 8 bits"):
        call(WRAPPED)


@pytest.mark.parametrize("dtype", ["u2", "u4", "u8", ">u8"])
def test_no_minus_one_in_wider_types(dtype: str) -> None:
    y = np.array([1, 2 ** (8 * int(dtype[-1])) - 1], dtype=dtype)
    with pytest.raises(ValueError, match="-1 wrapped around"):
        as_labels(y, None)
    with pytest.raises(ValueError, match="class indices are 0"):
        as_labels(y, 3)


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (np.array(["a", "b"]), TypeError, "y holds text"),
    (np.array([b"1", b"1"]), TypeError, "y holds text"),
    ("1", TypeError, "y = '1' is a str"),
    (1, TypeError, "y = 1 is a int"),
    (None, TypeError, "y = None"),
    (np.array([1, None]), TypeError, "y holds objects"),
    ([1, [1, 2]], TypeError, "y holds rows of unequal length"),
    ([2**70, 1], TypeError, "y holds objects"),
    (np.array([1, -1j]), TypeError, "y holds complex numbers"),
    (torch.tensor([1j, 1]), TypeError, "y holds complex numbers"),
    (np.array(["2020-01-01"], dtype="M8[D]"), TypeError, "y holds datetime64"),
    (torch.tensor([0.5, 1.0]), ValueError, r"labels \[0\.5\]"),
    (torch.tensor([1.0, float("nan")]), ValueError, r"labels \[nan\].*first in point 1"),
    (torch.tensor([[1, -1]]), ValueError, r"y has shape \(1, 2\); pass one label a point"),
    (torch.tensor([[0, 1], [1, 0]]), ValueError, r"is one-hot.*y\.argmax\(1\)"),
    (torch.tensor(1), ValueError, r"y has shape \(\)"),
    (torch.zeros(0), ValueError, r"y has shape \(0,\)"),
    (torch.tensor([1]).to_sparse(), TypeError, "y is sparse"),
]


@pytest.mark.parametrize(("y", "error", "text"), REFUSED)
@pytest.mark.parametrize("classes", [None, 3])
def test_what_cannot_be_meant(
    y: Any, error: type[Exception], text: str, classes: int | None
) -> None:
    with pytest.raises(error, match=text):
        as_labels(y, classes)


def test_names_and_cures() -> None:
    with pytest.raises(
        ValueError, match=r"t holds labels \[0\].*\(from 0/1: 2\*t - 1\).*class indices"
    ):
        as_labels([0, 1], None, name="t")
    with pytest.raises(
        ValueError, match=r"labels \[3\].*first in point 2\).*from 1 \.\.\. 3: y - 1"
    ):
        as_labels([1, 2, 3], 3)
    with pytest.raises(TypeError, match=r"class indices are integers; .*y\.long"):
        as_labels([0.0, 1.0], 2)
    with pytest.raises(ValueError, match=r"y has shape \(2,\).*shape \(3,\)"):
        as_labels([1, -1], None, points=3)
    with pytest.raises(ValueError, match="classes = 1"):
        as_labels([1, -1], 1)


def test_booleans_only_where_they_mean_one_thing() -> None:
    y = np.array([True, False])
    assert as_labels(y, None).tolist() == [1, -1]
    assert as_labels(y, 2).tolist() == [1, 0]
    with pytest.raises(TypeError, match="booleans, which label two classes and not 3"):
        as_labels(y, 3)


@given(st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=6))
def test_integers_outside_are_always_refused(values: list[int]) -> None:
    kind = np.uint64 if min(values) >= 0 else np.int64
    if kind is np.int64 and max(values) >= 2**63:
        return
    y = np.array(values, dtype=kind)
    for classes, allowed in ((None, {-1, 1}), (4, {0, 1, 2, 3})):
        if set(values) <= allowed:
            assert as_labels(y, classes).tolist() == values
        else:
            with pytest.raises(ValueError, match="y holds labels"):
                as_labels(y, classes)


def test_under_vmap_grad_and_compile() -> None:
    outputs, y = torch.randn(4, 3), CLASSES
    want = log_loss_per_point(outputs, y)
    each = torch.vmap(lambda f, k: log_loss_per_point(f[None], k[None])[0])
    assert torch.allclose(each(outputs, y.to(torch.int32)), want)
    slope = torch.func.grad(lambda f: log_loss(f, y))(outputs)
    leaf = outputs.clone().requires_grad_()
    assert torch.allclose(slope, torch.autograd.grad(log_loss(leaf, y), leaf)[0])
    meta = log_loss(outputs.to("meta"), y.to("meta"))
    assert meta.shape == ()


def test_shapes_of_outputs() -> None:
    assert output_classes(torch.zeros(3)) is None
    assert output_classes(torch.zeros(3, 1)) is None
    assert output_classes(torch.zeros(3, 4)) == 4
    for outputs in (torch.zeros(3, 0), torch.zeros(3, 2, 2), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="outputs have shape"):
            output_classes(outputs)
    with pytest.raises(ValueError, match=r"outputs have shape \(0"):
        log_loss(torch.zeros(0), torch.zeros(0))
    assert margins(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)


# What data files hold: y, y_test -> the classes, the labels and the words of the notes.
READ: list[tuple[Any, Any, int | None, list[int], list[int], str]] = [
    ([1, -1, 1], [-1], None, [1, -1, 1], [-1], ""),
    ([1.0, -1.0], None, None, [1, -1], [], ""),
    ([0, 1, 2, 0], [2, 1], 3, [0, 1, 2, 0], [2, 1], ""),
    ([1, 0], [1], 2, [1, 0], [1], ""),
    ([1, 2, 3], [3, 1], 3, [0, 1, 2], [2, 0], "labels 1, 2, 3 are the classes 0, 1, 2"),
    ([7, 3, 7], [3], 2, [1, 0, 1], [0], "labels 3, 7 are the classes 0, 1"),
    ([10**9, 0], [10**9], 2, [1, 0], [1], "labels 0, 1000000000 are"),
    ([-1, 0, 1], None, 3, [0, 1, 2], [], "labels -1, 0, 1 are"),
    ([0, 1, 5], [5], 3, [0, 1, 2], [2], "labels 0, 1, 5 are"),
    (["cat", "ant"], ["ant"], 2, [1, 0], [0], "labels 'ant', 'cat' are"),
    (np.array([b"b", b"a"]), np.array(["a"]), 2, [1, 0], [0], "labels 'a', 'b' are"),
    ([True, False], [False], 2, [1, 0], [0], "labels False, True are"),
    ([[0, 1], [1, 0]], [[0, 1]], 2, [1, 0], [1], "one-hot"),
    ([[0.0, 1, 0], [1, 0, 0]], None, 2, [1, 0], [], "one-hot"),
    ([[0, 0, 1], [1, 0, 0]], [[0, 0, 1]], 2, [1, 0], [1], "columns 0, 2 are the classes 0, 1"),
    (np.array([2**64 - 1, 0], dtype=np.uint64), None, 2, [1, 0], [], "18446744073709551615"),
    (np.array([255, 1], dtype=np.uint8), None, 2, [1, 0], [], "labels 1, 255 are"),
    (np.array([[1], [-1]], dtype=">i2"), np.array([[1.0]]), None, [1, -1], [1], ""),
    (np.array([1, 2], dtype=">f4"), None, 2, [0, 1], [], "labels 1, 2 are"),
    (np.array([1, 2], dtype=np.float16), np.array([2], dtype="u1"), 2, [0, 1], [1], "labels 1, 2"),
    (torch.tensor([3, 4]), torch.tensor([4], dtype=torch.int8), 2, [0, 1], [1], "labels 3, 4"),
]


@pytest.mark.parametrize(("y", "y_test", "classes", "train", "test", "note"), READ)
def test_labels_of_files(
    y: Any, y_test: Any, classes: int | None, train: list[int], test: list[int], note: str
) -> None:
    got = read_labels(y, y_test)
    assert got.classes == classes
    assert got.y.tolist() == train
    assert got.y_test.tolist() == test
    assert got.y.dtype == got.y_test.dtype == torch.int64
    assert (note in " ".join(got.notes)) if note else not got.notes


@pytest.mark.parametrize(
    ("y", "y_test", "error", "text"),
    [
        ([0, 1, 2], [3], ValueError, r"y_test holds labels \[3\], which y does not.*0, 1, 2"),
        ([1, 2, 3], [0], ValueError, r"y_test holds labels \[0\]"),
        ([1, -1], [0, 1], ValueError, r"y_test holds labels \[0\]"),
        ([0, 1], [-1], ValueError, r"y_test holds labels \[-1\]"),
        ([1, -1], [255], ValueError, r"y_test holds labels \[255\]"),
        ([1, -1], [0.5], ValueError, "y_test holds fractions"),
        ([1, -1], ["1"], ValueError, "y_test is text and y one label a point"),
        ([[1, 0], [0, 1]], [0], ValueError, "y_test is one label a point and y one-hot"),
        ([[1, 0], [0, 1]], [[1, 0, 0]], ValueError, "one-hot with 3 columns"),
        ([1.5, 2], None, ValueError, "y holds fractions.*1.5"),
        ([1.0, np.nan], None, ValueError, "NaN or infinity, first in point 1"),
        ([1.0, 1e300], None, ValueError, "beyond 2"),
        ([5, 5], None, ValueError, "only the label 5"),
        ([0, 0], None, ValueError, "only the label 0"),
        ([], None, ValueError, r"y has shape \(0,\)"),
        (3, None, ValueError, r"y has shape \(\)"),
        ([1, -1], 3, ValueError, r"y_test has shape \(\)"),
        ([[1, 1], [0, 1]], None, ValueError, "is not one-hot"),
        ([[[1]]], None, ValueError, r"shape \(1, 1, 1\)"),
        ([1j, 1], None, TypeError, "y has dtype complex128"),
        ([None, 1], None, TypeError, "y has dtype object"),
        ([1, [2, 3]], None, TypeError, "unequal length"),
        (np.array([b"\xff", b"a"]), None, ValueError, "not text in UTF-8"),
        (np.zeros(2, dtype=[("a", "i4")]), None, TypeError, "y has dtype"),
        (np.array(["2020-01-01"], dtype="M8[D]"), None, TypeError, "y has dtype datetime64"),
    ],
)
def test_labels_of_files_that_are_refused(
    y: Any, y_test: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        read_labels(y, y_test)


def test_a_long_table_is_cut_in_its_note() -> None:
    (note,) = read_labels(np.arange(100) * 2).notes
    assert "0, 2, 4, 6, ..., 198 are the classes 0, 1, 2, 3, ..., 99" in note


def test_two_outputs_are_two_classes_and_not_a_binary_net() -> None:
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.5]])
    net = Linear(2, classes=2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-1.0, -2.0], [1.0, 2.0]]))
    y = torch.tensor([1, 0])
    certificate = certify(net, x, y, maps.Quadratic())
    # The first point alone supports: γ = max 2⟨v, x⟩ over weights (−v, v) of norm 1 is √2 ‖x‖.
    assert certificate.margin == pytest.approx(10**0.5, rel=1e-12)
    assert certificate.epsilon < 1e-10
    assert certificate.multipliers.shape == (2, 2)
    exact = max_margin(x, y, LpHorizon(2), classes=2)
    assert exact.margin == pytest.approx(10**0.5, rel=1e-7)
    flow = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=20.0)
    assert flow.margin[-1] == pytest.approx(10**0.5, rel=1e-3)
