"""The checkpoint that a run begins from, compared with the run."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from ..names import as_flag
from .settings import FAIRSEQ_EPS, one_of, real, shown_names

logger = logging.getLogger(__name__)

FINETUNE = "--finetune-from-model"
LAYER_NORM_EPS, TOKEN_TYPES = "--layer-norm-eps", "--token-types"

# Of each section of a configuration, in the order of errors.
_SETTINGS = {
    "model": (
        *("_name", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim"),
        *("encoder_attention_heads", "max_positions", "untie_weights_roberta"),
        *("activation_fn", "pooler_activation_fn"),
    ),
    "task": ("init_token", "separator_token", "num_classes", "classification_head_name"),
    "optimizer": ("_name",),
    "lr_scheduler": ("_name",),
    "criterion": ("_name",),
    "common": ("fp16", "bf16", "amp", "memory_efficient_fp16", "memory_efficient_bf16"),
    "optimization": ("use_bmuf",),
}
# Those that change the computation, but not the shapes of weights.
_OF_NETWORK = "--hf-model's "
_OF_ENCODER = (
    *("--encoder-attention-heads", "--activation-fn", LAYER_NORM_EPS, TOKEN_TYPES),
    "--untie-weights-roberta",
)
_OF_TEXTS = ("--init-token", "--separator-token")
_OF_HEAD_AND_TEXTS = (
    *("--pooler-activation-fn", "--num-classes", "--classification-head-name", "--multi-label"),
    *_OF_TEXTS,
)


class Origin(NamedTuple):
    """The checkpoint that training is about to begin from.

    flag, path: which flag names it, and the file
    task_state: saved by our task
    settings: those that a run must share with it to resume from it, by flag
    """

    flag: str
    path: str
    task_state: dict[str, Any]
    settings: dict[str, Any]

    def check_content(self, ours: dict[str, Any], goes_on: bool) -> None:
        """Its vocabulary and classes must be the data's.

        Args:
            ours: the data's, as :func:`mixkd_plugin.fingerprints.fingerprint` has them
            goes_on: whether the checkpoint's run resumes; a new run may have other classes

        Raises:
            ValueError: if they differ.
        """
        theirs = self.task_state.get("fingerprint", ours)  # fairseq's own task records none
        trained = f"{self.flag}: {self.path} was trained"
        if theirs["vocabulary"] != ours["vocabulary"]:
            raise ValueError(
                f"{trained} on another vocabulary than the data folder's input0/dict.txt: give the "
                "data that it was trained on, or another checkpoint or --save-dir"
            )
        if theirs["labels"] != ours["labels"]:
            labels, here = map(shown_labels, (theirs, ours))
            text = f"{trained} with the labels {labels}, the data folder has {here}"
            if goes_on:
                raise ValueError(
                    f"{text}: give the data that it was trained on, or another checkpoint or "
                    "--save-dir"
                )
            logger.warning("%s: its classification head, if loaded, has the former's order", text)

    def check_settings(self, ours: dict[str, Any], goes_on: bool) -> None:
        """Raise ValueError, with the flag, where settings that change the computation, but not the
        shapes of weights, are not ``ours``, :func:`settings_of_run`'s."""
        flags = (*_OF_ENCODER, *(_OF_HEAD_AND_TEXTS if goes_on else ()))
        flags += tuple(flag for flag in self.settings if flag.startswith(_OF_NETWORK))
        ours_too = "fingerprint" in self.task_state  # then a missing setting was not given
        for flag in flags:
            theirs, here = self.settings.get(flag), ours.get(flag)
            known = theirs is not None or (ours_too and flag in _OF_TEXTS)
            if known and theirs != here:
                raise ValueError(
                    f"{flag} must be {shown_names([str(theirs)])}, with which {self.path} "
                    f"({self.flag}) was trained, got {here}: give the former, or another "
                    "checkpoint or --save-dir"
                )


def settings_of_run(cfg: Any) -> dict[str, Any]:
    """Settings that must stay equal when a run resumes, by flag; ``cfg``: full, or a dict."""
    found = {}
    for section, names in _SETTINGS.items():
        values = cfg.get(section) or {}
        values = values if hasattr(values, "get") else getattr(values, "__dict__", {})
        found.update({_flag(section, name): values.get(name) for name in names})
        if section == "task" and values.get("num_classes") is not None:  # else it has no labels
            found["--multi-label"] = bool(values.get("multi_label"))
        if section == "model":
            found[LAYER_NORM_EPS] = real(values, "layer_norm_eps") or FAIRSEQ_EPS
            network = values.get("hf_config") or {}  # of --arch mixkd_hf
            found.update({_OF_NETWORK + k: v for k, v in network.items() if "dropout" not in k})
            found[TOKEN_TYPES] = one_of(values, "token_types", (1, 2), 1)
    return found


def _flag(section: str, name: str) -> str:
    if name != "_name":
        return as_flag(name)
    return "--arch" if section == "model" else as_flag(section)


def shown_labels(fingerprint: dict[str, Any]) -> str:
    labels = fingerprint["labels"]
    return "of a regression" if labels is None else ", ".join(labels)
