"""The checkpoints that a run begins from, checked before its student is built."""

import os
from typing import Any, Dict, Optional

from fairseq.data import Dictionary
from fairseq.models import (
    ARCH_MODEL_REGISTRY,
    MODEL_DATACLASS_REGISTRY,
    MODEL_REGISTRY,
    BaseFairseqModel,
)
from fairseq.modules import LayerDropModuleList
from omegaconf import OmegaConf

from ..checkpoints.hf_weights import digest_of_folder, folder_of
from ..checkpoints.origin import (
    FINETUNE,
    LAYER_NORM_EPS,
    TOKEN_TYPES,
    Origin,
    settings_of_run,
)
from ..checkpoints.outputs import StudentHead
from ..checkpoints.recovery import find_on_every_rank
from ..distributed import check_equal, of_first_rank, raise_on_all_ranks, world_size
from ..fairseq_fixes.refused_flags import check_model_flags, check_saving
from ..fingerprints import class_names, digest_of_file
from ..losses import LossWeights
from ..models.hf_student import initialise_hf_student
from ..models.mixkd_hf import MixKDHFModel
from ..models.mixkd_roberta import DEFAULTS, MixKDRobertaModel
from ..models.rebuild import flags_of_model
from ..models.student_init import initialise_student
from ..teacher.build import teacher_order
from ..teacher.files import split_paths


def find_origin(cfg, model_cfg, fingerprint: Dict[str, Any]) -> Optional[Origin]:
    """The checkpoint that a run begins from, compared with its data; None for a new one.

    Args:
        cfg: the task's; without a run's configuration nothing is saved or resumed
        fingerprint: of the data's dictionaries

    Raises:
        ValueError: on every rank, if it does not fit, or if checkpoints cannot be saved.
    """
    run = cfg._get_root()
    if "checkpoint" not in run:  # a task alone, in a notebook
        return None
    check_saving(run)
    check_model_flags(model_cfg)
    origin = find_on_every_rank(run)
    if origin is not None:
        origin.check_content(fingerprint, continues(cfg, origin))
    return origin


def check_architecture(model_cfg) -> None:
    """Raise ValueError for hydra's settings of a package's model that is not the chosen one.

    fairseq refuses those that a dataclass lacks; a model without a dataclass ignores them.
    """
    chosen = model_cfg.get("_name") if OmegaConf.is_config(model_cfg) else None
    if chosen not in ARCH_MODEL_REGISTRY or chosen in MODEL_DATACLASS_REGISTRY:
        return
    unknown = {*model_cfg} - {"_name", *flags_of_model(ARCH_MODEL_REGISTRY[chosen])}
    for name, dataclass in MODEL_DATACLASS_REGISTRY.items():
        own = not MODEL_REGISTRY[name].__module__.startswith("fairseq.")
        for setting in sorted(unknown & {*dataclass.__dataclass_fields__}) if own else ():
            raise ValueError(
                f"model._name must be {name} for model.{setting}, got {chosen}: the _name of a "
                f"recipe counts more than that of model/{name}.yaml; give model._name={name}, too"
            )


def continues(cfg, origin: Optional[Origin]) -> bool:
    """Whether a run resumes from a checkpoint; else it only loads the weights."""
    reset = cfg.reset_optimizer or cfg.reset_dataloader
    return origin is not None and not reset and origin.flag != FINETUNE


def check_settings(cfg, model: BaseFairseqModel, origin: Optional[Origin]) -> None:
    """Raise ValueError if the student's computation would differ from the checkpoint's."""
    if origin is not None:
        args = getattr(model, "args", None) or cfg._get_root().get("model")
        ours = settings_of_run({"model": args, "task": cfg})
        origin.check_settings(ours, continues(cfg, origin))


def begin_student(
    cfg, model: MixKDRobertaModel, labels: Optional[Dictionary], origin: Optional[Origin]
) -> None:
    """Initialise a new run's student; a resumed run needs no file. All ranks raise an error."""
    if origin is not None and model.args.layer_norm_eps is None:
        model.set_layer_norm_eps(origin.settings[LAYER_NORM_EPS])
    if origin is not None and model.args.token_types is None:
        model.set_token_types(origin.settings[TOKEN_TYPES])
    path, layers = model.args.student_init_path, model.args.student_init_layers
    if path is None and layers != DEFAULTS["student_init_layers"]:
        raise ValueError(
            f"--student-init-layers must be first without --student-init-path, got {layers}: give "
            "the checkpoint that has these layers"
        )
    if path is None:
        return
    _check_only_one(cfg, path, origin)
    if origin is None:
        with raise_on_all_ranks():
            head = _head(cfg, path, labels)
            narrowed = initialise_student(model, path, layers, head)
            digest = digest_of_file(path)[:16] if world_size() > 1 else None
        check_equal({f"the content of --student-init-path {path}": digest})
        if narrowed:  # hosts may round differently
            model.load_state_dict(of_first_rank(model.state_dict()))


def begin_hf_student(
    cfg, model: MixKDHFModel, dictionary: Dictionary, labels: Optional[Dictionary]
) -> None:
    """Initialise a new run's student from --hf-model. All ranks raise an error."""
    folder = model.args.hf_model
    with raise_on_all_ranks():
        initialise_hf_student(model, dictionary, _head(cfg, folder, labels), cfg.num_classes)
        digest = digest_of_folder(folder)[:16] if world_size() > 1 else None
    check_equal({f"the content of --hf-model {folder}": digest})


def _head(cfg, path: str, labels: Optional[Dictionary]) -> StudentHead:
    """The head to train, with the order of that in ``path`` if it is a teacher's."""
    classes = None if labels is None else class_names(labels)
    teachers = [] if cfg.teacher_labels is None else split_paths(cfg.teacher_path)
    known = {os.path.realpath(folder_of(teacher) or teacher) for teacher in teachers}
    order = teacher_order(cfg.teacher_labels, labels) if os.path.realpath(path) in known else None
    return StudentHead(cfg.classification_head_name, classes, order)


def _check_only_one(cfg, student_init_path: str, origin: Optional[Origin]) -> None:
    """Raise ValueError if another flag's file would silently overwrite it."""
    run = cfg._get_root().get("checkpoint", {})
    flags = {FINETUNE: run.get("finetune_from_model"), "--continue-once": run.get("continue_once")}
    if origin is not None and origin.flag == "--restore-file":
        flags["--restore-file"] = origin.path
    for flag, path in flags.items():
        if path is not None:
            raise ValueError(
                f"--student-init-path {student_init_path} must be given without {flag}, got "
                f"{flag} {path}: all weights would be the latter's; leave one of them out"
            )


def check_student(cfg, model: BaseFairseqModel, weights: LossWeights) -> None:
    """Raise ValueError for a student that lacks what the run needs: mixes, hidden states of all
    layers, or one limit of length for a teacher."""
    dropped = [m.p for m in model.modules() if isinstance(m, LayerDropModuleList) and m.p > 0]
    if weights.hidden > 0 and dropped:
        raise ValueError(
            f"--encoder-layerdrop must be 0 with --hidden-weight, got {dropped[0]:g}: states of "
            "layers that are left out cannot be matched with the teacher's"
        )
    use = None
    ours = getattr(model, "supports_mixup", False)
    if weights.need_mixes and not ours:
        use = "mixed examples need"
    elif weights.hidden > 0 and not ours:
        use = "--hidden-weight needs"
    elif cfg.teacher_path and not isinstance(model.max_positions(), int):
        use = "--teacher-path needs"
    if use is not None:
        raise ValueError(
            f"{use} a student of --arch mixkd_roberta or one of its named architectures, or one "
            f"that extends mixkd_plugin.MixupModel, got --arch {cfg._get_root().model._name}"
        )
