"""Suppresses warnings of imports in the output of a tool.

fairseq and its libraries log and warn while they are imported, and ``python -m
mixkd_plugin.tools.NAME`` imports them before the command can configure logging. Upstream: not
reported. It acts only on the tools, not on training and notebooks.
"""

import logging
import sys
import warnings

if sys.argv[:1] == ["-m"]:  # Python's name for a module that it is about to run
    logging.disable(logging.WARNING)  # until tools.cli configures logging
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
