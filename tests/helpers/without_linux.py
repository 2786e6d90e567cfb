"""Prints how many devices a study has without ``fcntl`` and ``sched_getaffinity``."""

import os
import sys

sys.modules["fcntl"] = None
for name in [name for name in sys.modules if name.startswith("mixkd_plugin.tools")]:
    del sys.modules[name]  # to be imported without it
del os.sched_getaffinity

from mixkd_plugin.tools.report import report  # noqa: E402, F401
from mixkd_plugin.tools.study import study  # noqa: E402

print(len(study.devices_of({"devices": "cpu", "jobs": None})))
