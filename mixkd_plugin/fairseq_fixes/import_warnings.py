"""What libraries say while they are imported is no part of a command's output.

``python -m mixkd_plugin.tools.NAME`` imports this package, and so fairseq, before the command can
decide about it. Training and notebooks are left alone.
"""

import logging
import sys
import warnings

if sys.argv[:1] == ["-m"]:  # Python's name for a module that it is about to run
    logging.disable(logging.WARNING)  # until tools.cli says what is shown
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
