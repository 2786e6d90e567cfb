"""The style of figures."""

import logging

from ..interop import library

SETTINGS = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
}


def pyplot():
    """matplotlib.pyplot, drawing into files in this package's style.

    Raises:
        ValueError: if it is not installed.
    """
    # hydra, inside fairseq's loader, turns on all debugging messages
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    library("matplotlib").use("Agg")
    plt = library("matplotlib.pyplot")
    plt.rcParams.update(SETTINGS)
    return plt
