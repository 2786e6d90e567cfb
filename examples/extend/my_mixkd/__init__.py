"""A user directory of fairseq that adds to mixkd_plugin: ``--user-dir examples/extend/my_mixkd``.

Importing mixkd_plugin registers its task, criterion and models; importing the others
registers ours.
"""

import mixkd_plugin  # noqa: F401

from . import balance, distance, encoder, kind, pairing, student

__all__ = ["balance", "distance", "encoder", "kind", "pairing", "student"]
