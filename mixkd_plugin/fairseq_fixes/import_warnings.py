"""The output of a tool begins with the tool's own words.

fairseq and the libraries that it imports log and warn while they are imported, and
``python -m mixkd_plugin.tools.NAME`` imports them before the command can decide about it. Upstream:
not reported. It acts on the tools alone: training and notebooks are left alone.
"""

import logging
import sys
import warnings

if sys.argv[:1] == ["-m"]:  # Python's name for a module that it is about to run
    logging.disable(logging.WARNING)  # until tools.cli says what is shown
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
