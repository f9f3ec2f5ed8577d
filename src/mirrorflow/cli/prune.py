"""`mirrorflow prune`: a sparse net out of a run or a checkpoint of your own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.nets import factory
from mirrorflow.cli.options import data_options

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from torch import Tensor, nn

    from mirrorflow.data import Dataset

__all__ = ["prune"]


def prune(
    target: Annotated[
        str,
        typer.Argument(
            help="A run folder, a checkpoint with --model module:factory, or module:factory (a "
            "function that returns the trained net)."
        ),
    ],
    share: Annotated[
        float, typer.Option(help="Of the weights of layers, to be set to zero; 0.5 for 2:4.")
    ] = 0.9,
    scope: Annotated[
        str,
        typer.Option(help="global (one ranking), layer (the share of each), or 2:4."),
    ] = "global",
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Layer, parameter or pattern that stays dense; repeatable."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="module:factory of the net that a checkpoint belongs to.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="To measure accuracy on: a name or an .npz file; default: the run's."),
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Option of the data set, such as n=100; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the state dict; it loads in plain torch. Without it: a look."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Set the smallest weights of a trained net to zero, and say what is left.

    Normalisation, biases and embeddings stay as they are. Nothing is trained: to train on under
    the mask use `mirrorflow.sparse.prune` in your own loop.
    """
    import torch

    from mirrorflow import sparse

    net, points = _resolve(target, model, data, data_option or [])
    before = _accuracy(net, points)
    pruning = sparse.prune(net, share, scope, skip=skip or [])  # type: ignore[arg-type]
    left = sparse.finalize(net)
    after = _accuracy(net, points)
    if out is not None:
        if out.exists():
            raise ValueError(f"--out {out} is there already; name a new file")
        part = out.with_name(out.name + ".part")
        torch.save(net.state_dict(), part)
        os.replace(part, out)
    if as_json:
        found: dict[str, Any] = {
            "target": target,
            "scope": scope,
            "share": pruning.share,
            "share_of_all": pruning.share_of_all,
            "entries": pruning.entries,
            "zeros": left.zeros,
            "layers": {layer.name: layer.masked / layer.entries for layer in pruning.layers},
            "accuracy": before,
            "accuracy_pruned": after,
            "out": None if out is None else str(out),
        }
        print(json.dumps(found))
        return
    print(pruning)
    if before is not None and after is not None:
        print(f"accuracy {before:.2%} before, {after:.2%} after")
    print(f"state dict: {out}" if out else "nothing was saved; pass --out FILE")


def _resolve(
    target: str, model: str | None, data: str | None, options: list[str]
) -> tuple[nn.Module, Dataset | None]:
    """The net, and the points to measure accuracy on, if there are any."""
    from mirrorflow.data import load
    from mirrorflow.nets import load_weights
    from mirrorflow.runs import load_run

    path = Path(target)
    points = None if data is None else load(data, **data_options(options))
    if path.is_dir():
        run = load_run(path)
        for note in run.notes:
            print(f"note: {note}", file=sys.stderr)
        return run.net, points or run.data
    if path.is_file():
        if model is None:
            raise ValueError(
                f"{target} is a checkpoint; name its net with --model module:factory, or pass the "
                "run folder that holds it"
            )
        net = factory(model)
        load_weights(net, path)
        return net, points
    if ":" in target:
        return factory(target), points
    raise ValueError(
        f"{target!r} is no run folder, no checkpoint and no module:factory; pass one of them"
    )


def _accuracy(net: nn.Module, points: Dataset | None) -> float | None:
    """On the test points where there are some, else on those of training."""
    import torch

    if points is None:
        return None
    x, y = (points.x_test, points.y_test) if len(points.x_test) else (points.x, points.y)
    dtype = next(net.parameters()).dtype

    def right(a: Tensor, b: Tensor) -> int:
        out = net(a.to(dtype))
        if points.classes is None:
            return int((out.reshape(len(a)).sign() == b.sign()).sum())
        return int((out.argmax(1) == b).sum())

    mode = net.training
    net.eval()
    with torch.no_grad():
        pairs = zip(torch.split(x, 1000), torch.split(y, 1000), strict=True)
        total = sum([right(a, b) for a, b in pairs])
    net.train(mode)
    return total / len(x)
