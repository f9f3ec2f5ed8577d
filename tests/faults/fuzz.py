"""One bad value for one argument at a time, for every public callable.

An answer is right if it holds no NaN (unless one was put in); a refusal is right if it is one of
ours (raised by a `raise` of the library, of its types or Python's) and names the argument.

    python tests/faults/fuzz.py [--calls REGEX] [--show] [--seed N] [--values N]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import linecache
import math
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mirrorflow
from mirrorflow.errors import MirrorFlowError

HOUSE = str(Path(mirrorflow.__file__).parent)
SECONDS = 20
THEIRS = "a user's function failed"


class Junk:
    """An object that is nothing."""

    def __repr__(self) -> str:
        return "<junk>"


def raising(*_: Any, **__: Any) -> Any:
    raise RuntimeError(THEIRS)


def bad_values(seed: int) -> dict[str, Callable[[], Any]]:
    """The pool: each entry makes its value anew."""
    rng = np.random.default_rng(seed)
    return {
        "None": lambda: None,
        "nan": lambda: math.nan,
        "inf": lambda: math.inf,
        "-inf": lambda: -math.inf,
        "-1": lambda: -1,
        "0": lambda: 0,
        "-0.5": lambda: -0.5,
        "1.5": lambda: 1.5,
        "1e300": lambda: 1e300,
        "1e-300": lambda: 1e-300,
        "10**12": lambda: 10**12,
        "10**400": lambda: 10**400,
        "random number": lambda: float(rng.normal() * 10 ** rng.uniform(-3, 3)),
        "True": lambda: True,
        "1j": lambda: 1j,
        "text": lambda: "abc",
        "empty text": lambda: "",
        "bytes": lambda: b"abc",
        "list": list,
        "list of text": lambda: ["a", "b"],
        "dict": dict,
        "object": Junk,
        "class": lambda: Junk,
        "raising function": lambda: raising,
        "function of nothing": lambda: lambda *_, **__: None,
        "np.float64": lambda: np.float64(rng.normal()),
        "np.int64": lambda: np.int64(rng.integers(-3, 4)),
        "np.str_": lambda: np.str_("abc"),
        "empty array": lambda: np.zeros((0, 3)),
        "object array": lambda: np.array([None, "a"], dtype=object),
        "array (5, 3)": lambda: rng.normal(size=(5, 3)),
        "big-endian": lambda: rng.normal(size=(6, 2)).astype(">f8"),
        "scalar tensor": lambda: torch.tensor(1.0),
        "int tensor": lambda: torch.arange(6),
        "bool tensor": lambda: torch.ones(6, dtype=torch.bool),
        "complex tensor": lambda: torch.ones(6, 2) * 1j,
        "empty tensor": lambda: torch.zeros(0),
        "nan tensor": lambda: torch.full((6, 2), math.nan),
        "inf tensor": lambda: torch.full((6, 2), math.inf),
        "huge tensor": lambda: torch.full((6, 2), 1e300),
        "half tensor": lambda: torch.ones(6, 2, dtype=torch.float16),
        "sparse tensor": lambda: torch.eye(6).to_sparse(),
        "wrong shape": lambda: torch.ones(2, 3, 4),
        "module": lambda: torch.nn.Tanh(),
    }


@dataclasses.dataclass(frozen=True)
class Call:
    """A valid call; `arguments()` makes its arguments anew."""

    name: str
    function: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]]


def holds_nan(value: Any, depth: int = 0) -> bool:
    """True if an answer holds a NaN anywhere."""
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and bool(torch.isnan(value.detach()).any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool(np.isnan(value).any())
    if isinstance(value, float):
        return math.isnan(value)
    if depth < 3 and isinstance(value, (list, tuple)):
        return any(holds_nan(item, depth + 1) for item in value)
    if depth < 3 and isinstance(value, Mapping):
        return any(holds_nan(item, depth + 1) for item in value.values())
    return False


def put_in_nan(value: Any) -> bool:
    """True if a NaN (or an infinity, whose differences are NaN) was among the arguments."""
    if isinstance(value, torch.Tensor):
        return value.dtype.is_floating_point and not bool(torch.isfinite(value.detach()).all())
    return isinstance(value, (float, np.floating)) and not math.isfinite(value)


def is_refusal(error: BaseException, argument: str, value: Any) -> bool:
    """One of our types, raised on purpose inside the library; the argument (or file) is named."""
    if not isinstance(error, (ValueError, TypeError, OSError, MirrorFlowError)):
        return False
    named = re.search(rf"(?<![A-Za-z]){re.escape(argument)}(?![A-Za-z])", str(error)) is not None
    if isinstance(value, (str, Path)) and len(str(value)) > 1:
        named = named or str(value) in str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
        return named
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    deliberate = line.startswith("raise") or ".raise_" in line
    return named and deliberate and (frame.filename.startswith(HOUSE) or "torch" in frame.filename)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most SECONDS, and silent."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def verdict(call: Call, argument: str, make: Callable[[], Any]) -> str:
    """ "" if the library did right, else what went wrong."""
    value = make()
    arguments = {**call.arguments(), argument: value}
    try:
        with bounded():
            result = call.function(**arguments)
    except TimeoutError as error:
        return f"TimeoutError: {error}"
    except (Exception, RecursionError) as error:
        cause: BaseException | None = error
        while cause is not None and cause.args[:1] != (THEIRS,):
            cause = cause.__cause__ or cause.__context__
        if is_refusal(error, argument, value) or cause is not None:
            return ""
        text = " ".join(str(error).split())[:160]
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {text} [{Path(place.filename).name}:{place.lineno}]"
    if holds_nan(result) and not put_in_nan(value):
        return "NaN from finite arguments"
    return ""


def battery(
    calls: list[Call], seed: int = 0, *, values: int | None = None
) -> tuple[int, list[tuple[str, str, str, str]]]:
    """Try every argument of every call with every value (or `values` drawn ones).

    Returns:
        How many calls were tried, and (call, argument, value, what went wrong) for the wrong ones.
    """
    pool = bad_values(seed)
    rng = np.random.default_rng(seed)
    tried, wrong = 0, []
    for call in calls:
        for argument in call.arguments():
            names = list(pool)
            if values is not None:
                names = [names[k] for k in rng.permutation(len(names))[:values]]
            for name in names:
                torch.manual_seed(seed)
                tried += 1
                if text := verdict(call, argument, pool[name]):
                    wrong.append((call.name, argument, name, text))
    return tried, wrong


def main() -> None:
    """The command: a table of what was tried and what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", default="", help="a regular expression for names of calls")
    parser.add_argument("--show", action="store_true", help="print every wrong call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--values", type=int, help="so many drawn values an argument; default all")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    import torch._dynamo  # seconds, which are not to be those of the first call that needs it
    from fuzz_calls import all_calls

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    limit = 12 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(tempfile.mkdtemp())  # a path such as "abc" is written to
    groups: dict[str, list[Call]] = {}
    for call in all_calls():
        if re.search(options.calls, call.name):
            groups.setdefault(call.name.split(".")[0], []).append(call)
    total, all_wrong = 0, 0
    print(f"{'part':<14}{'calls':>8}{'wrong':>8}{'share':>9}")
    for part, calls in groups.items():
        tried, wrong = battery(calls, options.seed, values=options.values)
        total, all_wrong = total + tried, all_wrong + len(wrong)
        print(f"{part:<14}{tried:>8}{len(wrong):>8}{len(wrong) / tried:>9.2%}", flush=True)
        if options.show:
            for name, argument, value, text in wrong:
                print(f"    {name}({argument} = {value}): {text}")
        else:
            for name, count in Counter(row[0] for row in wrong).most_common(8):
                print(f"    {name}: {count}")
    print(f"{'all':<14}{total:>8}{all_wrong:>8}{all_wrong / max(total, 1):>9.2%}")


if __name__ == "__main__":
    main()
