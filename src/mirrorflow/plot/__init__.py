"""Figures of your own flows, nets, certificates, maps and runs; each returns matplotlib Axes.

Every function takes the object and, if you like, the Axes to draw on. Colours can be told apart by
colour-blind readers and suit light and dark backgrounds: see `style`.
"""

from mirrorflow.plot.certificates import certificate
from mirrorflow.plot.figures import flow_figure, map_figure, run_figure
from mirrorflow.plot.layers import features
from mirrorflow.plot.output import save
from mirrorflow.plot.planes import plane, snapshot
from mirrorflow.plot.potentials import dual, potential, unit_ball
from mirrorflow.plot.predictions import growth
from mirrorflow.plot.theme import style
from mirrorflow.plot.tiles import weights
from mirrorflow.plot.training import runs
from mirrorflow.plot.trajectories import flow

__all__ = [
    "certificate",
    "dual",
    "features",
    "flow",
    "flow_figure",
    "growth",
    "map_figure",
    "plane",
    "potential",
    "run_figure",
    "runs",
    "save",
    "snapshot",
    "style",
    "unit_ball",
    "weights",
]
