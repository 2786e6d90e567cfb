"""Loads a split for a run, with checked labels, subset, mixes and the teacher's copy."""

import logging
from functools import partial
from pathlib import Path
from typing import Callable, Optional

from fairseq.data import Dictionary, FairseqDataset, RawLabelDataset

from ..data.labels import check_some_labelled, class_ids, read_targets
from ..data.mixup_dataset import MixupDataset, PlanDrawer
from ..data.mixup_kinds import TokenMixer
from ..data.mixup_plan import draw_plan, stratified_subset
from ..data.wrappers import WithColumn
from ..errors import prefixed
from ..fairseq_fixes.random_crop import draw_crops_apart
from ..losses import LossWeights
from ..teacher.teacher_data import TeacherData

logger = logging.getLogger(__name__)


def load_split(
    cfg,
    split: str,
    combine: bool,
    load: Callable[[], FairseqDataset],
    dictionary: Dictionary,
    labels: Optional[Dictionary],
    weights: LossWeights,
    teacher_data: Optional[TeacherData],
) -> MixupDataset:
    """Check the labels of a split and load it; the training split with its subset and mixes.

    Args:
        cfg: the task's
        combine: whether ``split1`` and so on belong to it
        load: fairseq's own loading
        dictionary: of the texts
        labels: the classes; None for regression
        weights: of the terms of the loss
        teacher_data: the teacher's copy, if it has another vocabulary

    Raises:
        ValueError: with the split's name.
    """
    training = split == cfg.train_subset
    unlabelled = cfg.unlabelled_examples == "allow"
    may_lack = unlabelled and training
    targets = read_targets(
        cfg.data, split, labels, cfg.num_classes, combine, may_lack, cfg.multi_label
    )
    classes = class_ids(targets)
    _check_second_texts(cfg.data, split)
    # inputs are missing, damaged, or fewer than labels
    with prefixed(f"split {split!r} of {cfg.data}", Exception):
        dataset = load()
    if len(dataset) != len(targets):  # fairseq allows none at all
        raise ValueError(
            f"{cfg.data}/label/{split}.label must have a line for each of the {len(dataset)} "
            f"examples, got {len(targets)}"
        )
    if cfg.multi_label:
        dataset = WithColumn(dataset, "target", RawLabelDataset(targets.tolist()))
    draw_crops_apart(dataset)
    lengths = dataset.sizes[0]
    if teacher_data is not None:
        dataset = teacher_data.add_to(dataset, split, combine, targets, may_lack)

    # With --max-valid-steps fairseq's order gives a random sample, an order by length the shortest
    # texts.
    by_length = cfg.batch_by_length == "on" and (training or not cfg.max_valid_steps)
    indices = None
    if training and cfg.train_fraction < 1:
        indices = stratified_subset(classes, cfg.train_fraction, cfg.train_fraction_seed)
        logger.info("training on %d of %d examples", len(indices), len(classes))
    if may_lack:
        check_some_labelled(classes if indices is None else classes[indices], weights)
    drawer = mixer = None
    if training and weights.need_mixes:
        mixer = _token_mixer(cfg, dictionary)
        drawer = _plan_drawer(cfg, 0 if mixer is None else len(mixer.names))
    return MixupDataset(
        split,
        dataset,
        lengths=lengths,
        indices=indices,
        by_length=by_length,
        length_seed=cfg.seed if by_length and training and not cfg.no_shuffle else None,
        draw_plan=drawer,
        mixer=mixer,
        classes=classes,
        with_clean=weights.need_clean,
        count_labelled=unlabelled,
        keep_every_example=by_length or not training,
        combined=combine,
    )


def _check_second_texts(data: str, split: str) -> None:
    """fairseq would silently read only the first texts if a split lacks the second ones."""
    second = Path(data, "input1")
    missing = [f for f in (f"{split}.bin", f"{split}.idx") if not (second / f).exists()]
    if missing and any(second.glob("*.idx")):
        raise ValueError(
            f"split {split!r} of {data} must have a second text like the others, got no "
            f"input1/{missing[0]}"
        )


def _token_mixer(cfg, dictionary: Dictionary) -> Optional[TokenMixer]:
    """Makes the mixes that are texts; None without such kinds."""
    special = {dictionary.bos(), dictionary.eos(), cfg.init_token, cfg.separator_token} - {None}
    mixer = TokenMixer(str(cfg.mixup_kind).split(":"), sorted(special), dictionary.pad())
    return mixer if mixer.is_text.any() else None


def _plan_drawer(cfg, kinds: int) -> PlanDrawer:
    return partial(
        draw_plan,
        ratio=cfg.mixup_ratio,
        alpha=cfg.mixup_alpha,
        pairing=str(cfg.mixup_pairing),
        period=cfg.mixup_period,
        kinds=kinds,
        seed=cfg.seed if cfg.mixup_seed is None else cfg.mixup_seed,
    )
