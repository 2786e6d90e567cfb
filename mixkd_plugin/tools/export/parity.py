"""Comparison of an export with fairseq: logits, and classes or correlation."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .formats import FORMATS

LEVEL = 2e-4  # classes whose logits in fairseq differ by at most this are tied


class Parity(NamedTuple):
    texts: int
    difference: float  # largest difference of logits
    bound: float
    agreement: float  # share of texts of the same class; nan for regression


def check_parity(
    wanted: Tensor,
    found: Tensor,
    to: str,
    tolerance: float | None,
    classes: bool,
    min_agreement: float | None = None,
    multi_label: bool = False,
) -> Parity:
    """The comparison of fairseq's logits (N, C) with an export's.

    Args:
        to: name of the format, with its default bounds
        tolerance: largest difference of logits
        classes: whether the largest logit is a class; else each is the target of a regression
        min_agreement: least share of texts of the same class, or correlation
        multi_label: each logit above 0 is one of a text's classes

    Raises:
        ValueError: if they differ more, or agree less.
    """
    bound = FORMATS[to].tolerance if tolerance is None else tolerance
    if tolerance is None and to == "onnx-int8":
        span = torch.stack([wanted.max() - wanted.min(), wanted.abs().max()]).max()  # of one text 0
        bound = span.item() * (1 if classes else bound)
    elif tolerance is None and not classes:  # in float32 numbers near 1500 are 1.2e-4 apart
        bound *= max(1.0, wanted.abs().max().item())
    difference = (found - wanted).abs().max().item()
    if not difference <= bound:
        raise ValueError(
            f"--tolerance must be >= {difference:.2e} for this export, got {bound:.2e}: its logits "
            f"differ from fairseq's by this much on {len(wanted)} texts"
        )
    least = FORMATS[to].agreement if min_agreement is None else min_agreement
    texts = len(wanted)
    if classes:
        lost = wanted.max(dim=1).values - wanted.gather(1, found.argmax(dim=1)[:, None])[:, 0]
        if multi_label:
            lost = wanted.abs().masked_fill((wanted > 0) == (found > 0), 0).max(dim=1).values
        turned = int((lost > LEVEL).sum())
        agreed, what = 1 - turned / texts, "share of one class"
        # counted in texts: one of 8 may differ at 95%, one of 7 may not
        allowed = math.ceil((1 - least) * texts - 1e-9) if texts >= 8 else 0
        enough = agreed >= least or turned <= allowed
    else:
        agreed, what = least_correlation(wanted, found), "correlation"
        enough = agreed >= least
    if not enough:
        raise ValueError(
            f"--min-agreement must be <= {math.floor(1000 * agreed) / 1000} for this export, "
            f"got {least:g}: this is its {what} with fairseq on {texts} texts; "
            "another --to loses less"
        )
    return Parity(texts, difference, bound, agreed if classes else math.nan)


def least_correlation(wanted: Tensor, found: Tensor) -> float:
    """Correlation over the outputs of a regression; 1 for less than three texts."""
    pairs = zip(wanted.T.double(), found.T.double()) if len(wanted) > 2 else ()
    values = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs]
    return min((value for value in values if not math.isnan(value)), default=1.0)
