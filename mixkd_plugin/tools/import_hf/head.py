"""The head of a Hugging Face model, from its architecture and the rest of config.json.

The weights of a tagger or of multiple choice have a classifier's names, but sentence prediction
cannot use them.
"""

from typing import List, NamedTuple, Optional

from ...checkpoints.outputs import declared_names, in_our_case
from ...interop import library
from ...names import class_name, join_names
from ...tokenizers.library import FAIRSEQ_SPECIAL
from ..hf_config import FAMILIES, EncoderConfig
from ..labels import is_unnamed

# Ends of names in `architectures`: an encoder with a head of pre-training, or without a head.
HEADLESS = ("Model", "ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction", "LMHeadModel")
ONE_LABEL, MULTI_LABEL = "single_label_classification", "multi_label_classification"
ENCODER_ONLY = "--encoder-only imports the encoder without a head"


class Head(NamedTuple):
    outputs: int
    names: Optional[List[str]]  # of the classes, as in fairseq's dict.txt; None: regression
    multi_label: bool = False  # a text has any number of the classes

    def __str__(self) -> str:
        if self.names is None:
            return f"{self.outputs} targets of a regression, without an activation"
        kind = "a sigmoid for each (--multi-label)" if self.multi_label else "softmax"
        return f"{self.outputs} classes, {kind}: {', '.join(self.names)}"


def is_classifier(config: EncoderConfig, has_weights: bool) -> bool:
    """Whether the model has a classification head; ``has_weights``: by the names of its weights.

    Raises:
        ValueError: if it has another head, or does not declare one.
    """
    names = config.raw.get("architectures")
    if not names:
        if has_weights:
            raise ValueError(
                f"architectures must name the head of the weights, got none: add it; {ENCODER_ONLY}"
            )
        return False
    auto = library("transformers.models.auto.modeling_auto")
    kinds = [kind for kind, family in FAMILIES.items() if family is config.family]
    known = {auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[kind] for kind in kinds}
    if names in [[name] for name in known]:
        return True
    stems = tuple(name[: -len("ForSequenceClassification")] for name in known)
    if names not in [[f"{stem}{head}"] for stem in stems for head in HEADLESS]:
        raise ValueError(
            f"architectures must be {' or '.join(sorted(known))}, or a model without a head of its "
            f"own ({', '.join(stem + 'Model' for stem in sorted(stems))}), got {names!r:.100}: "
            f"{ENCODER_ONLY}"
        )
    return False


def read_head(config: EncoderConfig, outputs: int, labels: Optional[List[str]]) -> Head:
    """The head of a classifier.

    Args:
        outputs: of its weights
        labels: names of the classes that replace the source's

    Raises:
        ValueError: if it is not supported, or the names do not match its outputs.
    """
    problem = config.raw.get("problem_type")
    if problem not in (None, ONE_LABEL, MULTI_LABEL, "regression"):
        raise ValueError(
            f"problem_type must be {ONE_LABEL}, {MULTI_LABEL} or regression, got {problem!r}"
        )
    if outputs == 1:
        declared = _one_output(config)
        if declared is not None:
            raise ValueError(
                f"a head of one output must be a regression without an activation, got {declared}: "
                "fairseq's classifiers have an output for each class"
            )
    theirs = _declared_names(config, outputs) if labels is None else []
    if problem == "regression" or outputs == 1:  # as in transformers
        if labels is not None:
            raise ValueError(f"--labels must be absent for a regression, got {join_names(labels)}")
        return Head(outputs, None)
    if labels is not None:
        names = _checked(labels, outputs, "--labels")
        _check_order(config, outputs, names)
    else:
        names = _checked(theirs, outputs, "id2label")
    return Head(outputs, names, problem == MULTI_LABEL)


def _one_output(config: EncoderConfig) -> Optional[str]:
    """The declaration of a head of one output, unless transformers would train a regression."""
    trained = config.raw.get("sentence_transformers")
    named = trained.get("activation_fn") if isinstance(trained, dict) else None
    named = named or config.raw.get("sbert_ce_default_activation_function")
    if named and not str(named).endswith("Identity"):
        return f"the activation {str(named).split('.')[-1]}"
    problem = config.raw.get("problem_type")
    return f"problem_type {problem}" if problem in (ONE_LABEL, MULTI_LABEL) else None


def _declared_names(config: EncoderConfig, outputs: int) -> List[str]:
    """Names of id2label; numbers if it has only transformers' default LABEL_0, LABEL_1, ..."""
    cure = "--labels A,B,... names the classes in the order of the outputs"
    names = declared_names(config.raw, cure)
    if len(names) != outputs:
        raise ValueError(
            f"config.json must declare the {outputs} outputs of the weights (id2label, "
            f"num_labels), got {len(names)}: {cure}"
        )
    return [str(i) for i in range(outputs)] if is_unnamed(names) else names


def _check_order(config: EncoderConfig, outputs: int, names: List[str]) -> None:
    """Raise ValueError if ``names`` are the declared ones in another order."""
    try:
        declared = _declared_names(config, outputs)
    except ValueError:  # wrong ones, which --labels replaces
        return
    theirs = in_our_case([class_name(name) for name in declared], names)
    numbers = [str(i) for i in range(outputs)]  # numbers declare no order
    if theirs not in (names, numbers) and sorted(names) == sorted(theirs):
        raise ValueError(
            f"--labels must have the order of id2label, got {join_names(names)}: config.json has "
            f"{join_names(declared)}; leave the flag out, and use that order in encode"
        )


def _checked(names: List[str], outputs: int, where: str) -> List[str]:
    """Names of the classes, as in a dictionary of fairseq."""
    written = [class_name(name) for name in names]
    usable = {n for n in written if n and not n.startswith("madeupword")} - {*FAIRSEQ_SPECIAL}
    if len(names) != outputs or len(usable) != outputs:
        raise ValueError(
            f"{where} must have {outputs} different names (a blank counts as _), got "
            f"{join_names(names)}: --labels A,B,... gives others in their order"
        )
    return written
