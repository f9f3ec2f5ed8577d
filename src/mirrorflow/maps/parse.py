"""Maps written as text: `power(3)`, `hyperbolic_entropy(beta=0.01)`, `spectral(power(3))`."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any, overload

from mirrorflow.checks import shown
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.cosh import Cosh
from mirrorflow.maps.double_exponential import DoubleExponential
from mirrorflow.maps.entropy import NegativeEntropy, SimplexEntropy
from mirrorflow.maps.exponential import Exponential
from mirrorflow.maps.hyperbolic_entropy import HyperbolicEntropy
from mirrorflow.maps.logarithmic import Logarithmic
from mirrorflow.maps.mixed import Mixed
from mirrorflow.maps.pnorm import PNorm
from mirrorflow.maps.power import Power
from mirrorflow.maps.quadratic import Quadratic
from mirrorflow.maps.scaled import Scaled
from mirrorflow.maps.spectral import Spectral

__all__ = ["KINDS", "MAPS", "as_map", "parse_map"]

KINDS: tuple[type[MirrorMap], ...] = (
    Quadratic,
    Power,
    HyperbolicEntropy,
    Logarithmic,
    Mixed,
    Cosh,
    Exponential,
    DoubleExponential,
    PNorm,
    Spectral,
    Scaled,
    NegativeEntropy,
    SimplexEntropy,
)
"""The kinds of map that can be written as text, in the order of the theory."""
MAPS: dict[str, type[MirrorMap]] = {kind.facts.name: kind for kind in KINDS}

# Of every map that there is, with room to spare; nothing longer is given to the parser.
LONGEST = 400


def parse_map(text: str) -> MirrorMap:
    """Read a map from text: the inverse of `repr`, case, `_` and `-` aside.

    Args:
        text: a name, or a call with numbers or maps: `"quadratic"`, `"power(3)"`, `"Power(p=3.0)"`,
            `"hyperbolic-entropy(beta=0.01)"`, `"spectral(power(3))"`.

    Raises:
        TypeError: `text` is not a string.
        ValueError: unknown name, unknown or missing parameter, or what the map itself refuses.
    """
    if isinstance(text, MirrorMap):
        return text
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}; pass a string such as 'power(3)'")
    if len(text) > LONGEST:
        raise ValueError(f"text has {len(text)} characters, which is not a map; {_valid()}")
    try:
        tree = ast.parse(re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", "_", text.strip()), mode="eval")
        result = _value(tree.body, text)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is not a map; {_valid()}") from None
    if not isinstance(result, MirrorMap):
        raise ValueError(f"{text!r} is not a map; {_valid()}")
    return result


@overload
def as_map(value: MirrorMap | str, name: str = ...) -> MirrorMap: ...
@overload
def as_map(value: Any, name: str = ...) -> Any: ...
def as_map(value: Any, name: str = "mirror_map") -> Any:
    """A map, or its text read; in a mapping every value.

    Raises:
        TypeError: neither.
        ValueError: text that is not a map.
    """
    if isinstance(value, Mapping):
        return {key: as_map(each, f"{name}[{key!r}]") for key, each in value.items()}
    if isinstance(value, MirrorMap):
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"{name} = {shown(value)} is not a MirrorMap; pass one such as maps.Cosh(0.5), or its "
            'text, "cosh(0.5)"'
        )
    try:
        return parse_map(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _valid() -> str:
    return f"write one of {', '.join(MAPS)}, with parameters in brackets as in 'power(3)'"


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name) and node.id.lower() not in ("inf", "nan"):
        return _build(node.id, [], {}, text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        _find(node.func.id, text)
        args = [_value(arg, text) for arg in node.args]
        if any(word.arg is None for word in node.keywords):
            raise ValueError(f"{text!r} is not a map; {_valid()}")
        if len({word.arg for word in node.keywords}) < len(node.keywords):
            raise ValueError(f"{text!r} gives a parameter twice; give it once")
        named = {str(word.arg): _value(word.value, text) for word in node.keywords}
        return _build(node.func.id, args, named, text)
    return _number(node, text)


def _number(node: ast.expr, text: str) -> float:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        top, bottom = _number(node.left, text), _number(node.right, text)
        if bottom != 0:
            return _ratio(top, bottom)
    if isinstance(node, ast.Name) and node.id.lower() in ("inf", "nan"):
        return float(node.id)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    raise ValueError(f"{ast.unparse(node)!r} in {text!r} is not a number; {_valid()}")


def _ratio(top: float, bottom: float) -> float:
    try:
        return top / bottom
    except OverflowError:  # integers beyond the doubles
        return math.inf


def _find(name: str, text: str) -> str:
    plain = name.replace("_", "").lower()
    if plain == "custom":
        raise ValueError(f"{text!r}: a custom map is made in Python, maps.Custom(gradient=...)")
    for known in MAPS:
        if known.replace("_", "") == plain:
            return known
    near = get_close_matches(plain, [known.replace("_", "") for known in MAPS], 1)
    meant = [known for known in MAPS if known.replace("_", "") in near]
    where = "" if name == text.strip() else f" in {text!r}"
    cure = f"did you mean {meant[0]!r}? " if meant else ""
    raise ValueError(f"{name!r}{where} is not a mirror map; {cure}{_valid()}")


def _build(name: str, args: list[Any], named: dict[str, Any], text: str) -> MirrorMap:
    known = _find(name, text)
    return _call(known, MAPS[known], args, named)


def _call(name: str, kind: Callable[..., MirrorMap], args: list[Any], named: Any) -> MirrorMap:
    """`kind(*args, **named)`, with what is missing or too much named."""
    parameters = signature(kind).parameters
    for word in named:
        if word not in parameters:
            raise ValueError(f"{name} has no parameter {word}; it has {', '.join(parameters)}")
    if len(args) > len(parameters):
        raise ValueError(f"{name} takes at most {len(parameters)} parameters, got {len(args)}")
    given = {*list(parameters)[: len(args)], *named}
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in given]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}, as in '{name}({missing[0]}=...)'")
    try:
        return kind(*args, **named)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None
