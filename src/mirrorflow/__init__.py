"""Mirror flow and mirror descent in homogeneous neural networks.

Choose the geometry of training (a mirror map), train any network in it with `MirrorDescent` or
`MirrorAdamW`, follow the continuous flow with `mirror_flow`, and ask `certify` which max-margin
problem the network solves:

    import mirrorflow as mf

    points = mf.data.random_labels(n=8, d=2, seed=0)
    net = mf.nets.TwoLayer(d=2, m=20, activation="smooth_relu")
    flow = mf.mirror_flow(net, points.x, points.y, mf.HyperbolicEntropy(0.01), log_t_end=1e100)

`dir(mirrorflow)` lists what there is; each name is imported when it is first used, so that
`import mirrorflow` itself imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirrorflow import data as data
    from mirrorflow import diagnostics as diagnostics
    from mirrorflow import exact as exact
    from mirrorflow import flow as flow
    from mirrorflow import losses as losses
    from mirrorflow import maps as maps
    from mirrorflow import nets as nets
    from mirrorflow import optim as optim
    from mirrorflow import plot as plot
    from mirrorflow import sparse as sparse
    from mirrorflow.diagnostics import Certificate as Certificate
    from mirrorflow.diagnostics import balance as balance
    from mirrorflow.diagnostics import certify as certify
    from mirrorflow.diagnostics import features as features
    from mirrorflow.diagnostics import fit_growth as fit_growth
    from mirrorflow.diagnostics import margin as margin
    from mirrorflow.errors import MirrorFlowError as MirrorFlowError
    from mirrorflow.exact import max_margin as max_margin
    from mirrorflow.exact import two_layer_max_margin as two_layer_max_margin
    from mirrorflow.flow import Trajectory as Trajectory
    from mirrorflow.flow import compare_maps as compare_maps
    from mirrorflow.flow import mirror_flow as mirror_flow
    from mirrorflow.losses import log_loss as log_loss
    from mirrorflow.maps import Cosh as Cosh
    from mirrorflow.maps import Custom as Custom
    from mirrorflow.maps import DoubleExponential as DoubleExponential
    from mirrorflow.maps import Exponential as Exponential
    from mirrorflow.maps import HyperbolicEntropy as HyperbolicEntropy
    from mirrorflow.maps import Logarithmic as Logarithmic
    from mirrorflow.maps import MirrorMap as MirrorMap
    from mirrorflow.maps import Mixed as Mixed
    from mirrorflow.maps import NegativeEntropy as NegativeEntropy
    from mirrorflow.maps import PNorm as PNorm
    from mirrorflow.maps import Power as Power
    from mirrorflow.maps import Quadratic as Quadratic
    from mirrorflow.maps import SimplexEntropy as SimplexEntropy
    from mirrorflow.maps import Spectral as Spectral
    from mirrorflow.maps import estimate_horizon as estimate_horizon
    from mirrorflow.maps import parse_map as parse_map
    from mirrorflow.nets import check_degree as check_degree
    from mirrorflow.optim import MirrorAdamW as MirrorAdamW
    from mirrorflow.optim import MirrorDescent as MirrorDescent
    from mirrorflow.optim import RelativeStep as RelativeStep
    from mirrorflow.optim import match_lr as match_lr
    from mirrorflow.optim import param_groups as param_groups

__version__ = "0.1.0"

_MODULES = (
    "maps",
    "nets",
    "losses",
    "data",
    "diagnostics",
    "exact",
    "optim",
    "sparse",
    "flow",
    "plot",
)
_HOMES = {
    "maps": (
        "Quadratic Power HyperbolicEntropy Logarithmic Mixed Cosh Exponential DoubleExponential "
        "PNorm Spectral NegativeEntropy SimplexEntropy Custom MirrorMap parse_map estimate_horizon"
    ),
    "optim": "MirrorDescent MirrorAdamW RelativeStep match_lr param_groups",
    "flow": "mirror_flow compare_maps Trajectory",
    "diagnostics": "certify Certificate balance margin features fit_growth",
    "exact": "max_margin two_layer_max_margin",
    "nets": "check_degree",
    "losses": "log_loss",
    "errors": "MirrorFlowError",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "__version__",
    *_MODULES,
    *_HOME,
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _MODULES:
        return import_module(f"mirrorflow.{name}")
    if name in _HOME:
        value = getattr(import_module(f"mirrorflow.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mirrorflow' has no attribute {name!r}; see dir(mirrorflow)")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
