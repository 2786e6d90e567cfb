"""A Hugging Face folder as a fairseq checkpoint, in memory: for a teacher, or a student's start."""

import inspect
import logging
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from ..checkpoints.hf_weights import files_of, read_weights
from ..checkpoints.outputs import in_our_case, only_numbers
from ..checkpoints.settings import SettingsError, shown_names
from ..errors import in_short
from ..fingerprints import fingerprint
from ..interop import quiet
from ..names import class_name
from ..tokenizers.hf_symbols import HFSymbols, read_symbols
from .hf_network import attention_of, build_network, classifier_of, plain_config, read_config
from .hf_parts import longest_of, take_out
from .mixkd_hf import MixKDHFModel
from .size_guard import no_larger_than

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of logits, relative to the largest, or to 1 if that is larger
PADDED = 3
PROBES = [("The film is good.",), ("Is the film good?", "No, it is not good at all.")]


class Folder(NamedTuple):
    """
    model: with the folder's weights and its head
    has_head: whether the head is the folder's, not random
    names: of the classes; None for regression
    regression: whether it was trained for one
    multi_label: whether it was trained for several labels for a text
    layout: as :func:`layout_of` has it
    """

    model: MixKDHFModel
    has_head: bool
    names: Optional[List[str]]
    regression: bool
    multi_label: bool
    layout: Dict[str, Optional[int]]


def layout_of(folder: str) -> Dict[str, Optional[int]]:
    """The flags of a task that lays texts out as the folder's tokenizer does."""
    files_of(folder)  # which checks them
    config = read_config(folder)
    with quiet():
        symbols = read_symbols(folder, config)
    with torch.device("meta"):
        longest = longest_of(build_network(config))
    return _layout(symbols, longest)


def _layout(symbols: HFSymbols, longest: int) -> Dict[str, Optional[int]]:
    words = Dictionary()
    separator = words.eos() if symbols.separators else None
    return {"init_token": words.bos(), "separator_token": separator, "max_positions": longest}


def read_as_checkpoint(
    folder: str, dictionary: Dictionary, head: str, labels: Optional[List[str]]
) -> Dict[str, Any]:
    """A fine-tuned classifier, as :func:`configured.read_configured` reads one.

    Args:
        dictionary: of data that was encoded with the folder's tokenizer
        head: name for the classification head
        labels: the data's classes, in the order of the outputs; the folder's names are recorded as
            these where they differ by case alone, or these are numbers

    Raises:
        ValueError: if the folder cannot be read, or its model cannot be used.
    """
    found = read_folder(folder, dictionary, head)
    names = labels if found.names and labels and _are_alike(found.names, labels) else found.names
    task = {"_name": "sentence_prediction", "regression_target": found.regression, **found.layout}
    if found.multi_label:
        task.update(_name="mixkd_sentence_prediction", multi_label=True)
    network = {"_name": "mixkd_hf", "hf_config": plain_config(found.model.network.config)}
    return {
        "cfg": {"model": network, "task": task, "criterion": {"_name": None}},
        "model": dict(found.model.state_dict()),
        "fingerprint": {**fingerprint(dictionary, None), "labels": names},
    }


def read_folder(
    folder: str, dictionary: Dictionary, head: str, encoder_only: bool = False
) -> Folder:
    """The model of a folder, with the embeddings in a dictionary's order.

    Its logits of a text and of a pair are compared with transformers' own.

    Args:
        dictionary, head: as for :func:`read_as_checkpoint`
        encoder_only: whether the head may be missing, or of another task, and the dictionary may
            lack symbols of the tokenizer

    Raises:
        ValueError: if the folder cannot be read, or its model cannot be used.
    """
    files_of(folder)
    config = read_config(folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        symbols = read_symbols(folder, config)
        rows = symbols.indices(dictionary, part=encoder_only)
        network, has_head = _load(folder, config, encoder_only)
    words = network.get_input_embeddings().weight.detach()
    if max(rows) >= len(words):
        raise ValueError(
            f"vocab_size must be above the tokenizer's last index, {max(rows)}, got {len(words)}"
        )
    probes = _probes(symbols, rows, dictionary)
    wanted = [_logits_of(network, batch) for _, batch in probes]
    layout = _layout(symbols, longest_of(network))
    parts = take_out(network)
    if parts.types is not None and symbols.types == 1:
        parts = parts._replace(types=parts.types[:1].repeat(2, 1))
    if parts.last.bias is None:
        parts.last.bias = nn.Parameter(torch.zeros(parts.last.out_features))
    model = MixKDHFModel(network, parts, words[rows], dictionary.pad(), dictionary.eos())
    model.register_classification_head(head, parts.last.out_features)
    model.classification_heads[head].out_proj = parts.last
    _check_logits(model.eval(), head, probes, wanted)
    problem = getattr(config, "problem_type", None)
    several = problem == "multi_label_classification"
    regression = problem == "regression" or (parts.last.out_features == 1 and not several)
    # as fairseq's dictionaries have them; transformers' own are LABEL_0, ...
    names = [class_name(str(config.id2label.get(i, i))) for i in range(config.num_labels)]
    return Folder(model, has_head, None if regression else names, regression, several, layout)


def _load(folder: str, config: Any, encoder_only: bool) -> Tuple[nn.Module, bool]:
    """transformers' classifier, and whether its head is the folder's."""
    kind, weights = classifier_of(config.model_type), read_weights(folder)
    declared = getattr(config, "architectures", None) or []
    own = declared == [kind.__name__]
    if not own and not encoder_only:
        raise ValueError(
            f"architectures must be {kind.__name__}, the head of sentence classification, got "
            f"{shown_names(map(str, declared)) or 'none'}: fine-tune it on sentence classification"
        )
    try:
        with no_larger_than(weights):
            network, info = kind.from_pretrained(
                None, config=config, state_dict=weights, ignore_mismatched_sizes=True,
                output_loading_info=True, dtype=torch.float32, local_files_only=True,
                attn_implementation=attention_of(kind),
            )  # fmt: skip
    except SettingsError as error:
        raise ValueError("config.json must fit the weights, got a far larger model") from error
    except Exception as error:  # of transformers and torch, for values that do not fit
        raise ValueError(f"transformers cannot read its weights: {in_short(error)}") from error
    wrong = {
        "the weights lack": info["missing_keys"],
        "config.json must fit the shape of": [key[0] for key in info["mismatched_keys"]],
    }
    prefix = f"{network.base_model_prefix}."
    for what, names in wrong.items():
        of_encoder = [n for n in names if n.startswith(prefix) and ".pooler." not in n]
        refused = sorted(of_encoder if encoder_only else names)
        if refused:
            raise ValueError(f"{what} {shown_names(refused)}")
    deeper = [n for n in info["unexpected_keys"] if any(part.isdecimal() for part in n.split("."))]
    if deeper:
        raise ValueError(f"config.json must describe all weights, got also {shown_names(deeper)}")
    return network.eval(), own and not any(wrong.values())


def _probes(symbols: HFSymbols, rows: List[int], dictionary: Dictionary):
    """Of each probe the tokens (1, T), and transformers' own input."""
    found, inverse = [], {row: index for index, row in reversed([*enumerate(rows)])}
    for texts in PROBES:
        batch = symbols.tokenizer(*texts, return_tensors="pt")
        tokens = [inverse.get(i, dictionary.unk()) for i in batch["input_ids"][0].tolist()]
        batch["input_ids"] = torch.tensor([[rows[token] for token in tokens]])
        found.append((torch.tensor([tokens + [dictionary.pad()] * PADDED]), batch))
    return found


@torch.no_grad()
def _logits_of(network: nn.Module, batch: Dict[str, Tensor]) -> Tensor:
    takes = inspect.signature(network.forward).parameters
    given = {name: value for name, value in batch.items() if name in takes}
    return network(**given, return_dict=True).logits


@torch.no_grad()
def _check_logits(model: MixKDHFModel, head: str, probes, wanted: List[Tensor]) -> None:
    """Raise ValueError where embeddings and a mask do not give the logits of token indices."""
    for (tokens, _), logits in zip(probes, wanted):
        try:
            found = model.encode_rows(head, tokens, None, True)
            difference = (found - logits).abs().max().item()
        except Exception as error:
            difference = in_short(error)
        bound = TOLERANCE * max(1.0, logits.abs().max().item())
        if isinstance(difference, str) or not difference <= bound:
            raise ValueError(
                "it must give a text's logits from embeddings (inputs_embeds), whatever the "
                f"padding, got another result than from input_ids ({difference}): choose an "
                "encoder such as BERT, RoBERTa, DeBERTa or ModernBERT"
            )


def _are_alike(theirs: List[str], ours: List[str]) -> bool:
    """Whether the names are equal but for their case, or ours declare no order."""
    if not only_numbers(ours, theirs):
        return in_our_case(theirs, ours) == ours
    logger.info("classes %s of the data are the teacher's %s", ", ".join(ours), ", ".join(theirs))
    return True
