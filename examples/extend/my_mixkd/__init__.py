"""A user directory of fairseq that adds to mixkd_plugin: ``--user-dir examples/extend/my_mixkd``.

Importing mixkd_plugin registers its task, criterion and models; importing the three below
registers ours.
"""

import mixkd_plugin  # noqa: F401

from . import distance, encoder, pairing

__all__ = ["distance", "encoder", "pairing"]
