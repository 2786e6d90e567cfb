"""An export is compared with fairseq before it is there: logits, and classes or correlation."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .formats import FORMATS

LEVEL = 2e-4  # classes whose logits in fairseq differ by no more are both its own


class Parity(NamedTuple):
    texts: int
    difference: float  # the largest, of logits
    bound: float
    agreement: float  # share of texts of the same class; nan for regression


def check_parity(
    wanted: Tensor,
    found: Tensor,
    to: str,
    tolerance: float | None,
    classes: bool,
    min_agreement: float | None = None,
) -> Parity:
    """The comparison of fairseq's logits (N, C) with an export's.

    Args:
        to: name of the format, which has the default bounds
        tolerance: largest difference of logits
        classes: whether the largest logit is a class; else each is the target of a regression
        min_agreement: least share of texts of the same class, or correlation

    Raises:
        ValueError: where they differ by more, or agree less.
    """
    bound = tolerance
    if bound is None:
        span = torch.stack([wanted.max() - wanted.min(), wanted.abs().max()]).max()  # of one text 0
        bound = FORMATS[to].tolerance * (span.item() if to == "onnx-int8" else 1)
    difference = (found - wanted).abs().max().item()
    if not difference <= bound:
        raise ValueError(
            f"--tolerance must be at least {difference:.2e} for this export, got {bound:.2e}: so "
            f"much its logits differ from fairseq's on {len(wanted)} texts"
        )
    least = FORMATS[to].agreement if min_agreement is None else min_agreement
    texts = len(wanted)
    if classes:
        lost = wanted.max(dim=1).values - wanted.gather(1, found.argmax(dim=1)[:, None])[:, 0]
        turned = int((lost > LEVEL).sum())
        agreed, what = 1 - turned / texts, "share of one class"
        # in whole texts: one of 8 is not yet less than 95%, one of 7 is
        allowed = math.ceil((1 - least) * texts - 1e-9) if texts >= 8 else 0
        enough = agreed >= least or turned <= allowed
    else:
        agreed, what = least_correlation(wanted, found), "correlation"
        enough = agreed >= least
    if not enough:
        raise ValueError(
            f"--min-agreement must be at most {math.floor(1000 * agreed) / 1000} for this export, "
            f"got {least:g}: that is the {what} of its answers with fairseq's on {texts} texts; "
            "another --to loses less"
        )
    return Parity(texts, difference, bound, agreed if classes else math.nan)


def least_correlation(wanted: Tensor, found: Tensor) -> float:
    """Over the outputs of a regression; 1 where there is none, of less than three texts."""
    pairs = zip(wanted.T.double(), found.T.double()) if len(wanted) > 2 else ()
    values = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs]
    return min((value for value in values if not math.isnan(value)), default=1.0)
