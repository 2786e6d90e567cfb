"""``--mixup-pairing other-label``: every mix lies between two classes."""

import numpy as np

from mixkd_plugin import register_pairing


@register_pairing("other-label")
def other_label(examples, rng):
    """For each example any one of another class, all of them equally likely; (n,) positions."""
    labels = examples.labels
    partners = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        if len(others) == 0:
            raise ValueError(
                f"--mixup-pairing other-label must have two classes or more, got one class of all "
                f"{len(own)} training examples"
            )
        partners[own] = rng.choice(others, size=len(own))
    return partners
