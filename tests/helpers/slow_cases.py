"""Cases of a test of which only some need to run often."""

import pytest


def slow(*cases):
    """Cases that ``tests/run.sh`` leaves out and ``.ci/run`` runs.

    Each is a tuple of arguments, or the argument of a test that has one.
    """
    arguments = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*values, marks=pytest.mark.slow) for values in arguments]
