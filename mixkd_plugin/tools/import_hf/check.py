"""Comparison of an import with transformers' pipeline, before anything is written.

Texts in several scripts, pairs, and texts with every special and added token are computed by
AutoTokenizer and the Hugging Face model, and by the import: pieces must be equal, and hidden states
and logits of <s> within TOLERANCE.
"""

from argparse import Namespace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from ...interop import library
from ...modules.token_types import in_second_text, number_of_types
from ...tokenizers.library import Tokenizer
from ..hf_config import EncoderConfig
from .layout import token_types

TOLERANCE = 1e-4  # relative to the largest value, or to 1 if that is larger
MARKERS = 8  # tokens in one text
MARKED = 16  # texts with markers that the models compute; all of them are tokenised
TEXTS = [
    "A charming, often affecting journey!",
    "The SOUP was cold; the soup's bowl wasn't.",
    "Un café très chaud, s'il vous plaît: Ünaffected naïveté, Straße, Ελλάδα ΣΊΣΥΦΟΣ, İstanbul.",
    "日本語も少し。カフェが好き 中文没有空格的一句话 한국어 문장",
    "Привет, мир! مرحبا بالعالم שלום नमस्ते สวัสดี",
    "emoji 👍🏽 👨‍👩‍👧 🇩🇪, ﬁ ½ ², zero\u200bwidth, soft\u00adhyphen, ｆｕｌｌ, e\u0301",
    "numbers 1234567 and 3.14, e-mails (me@here.org) & #tags http://a.b/c?d=e#f",
    "  two  blanks,  and\tmore ",
    "x",
]


def marked_texts(markers: Sequence[str]) -> List[str]:
    """Texts that spell the markers: between blanks and inside words."""
    parts = [markers[i : i + MARKERS] for i in range(0, len(markers), MARKERS)]
    spaced = [f"the {' soup '.join(part)} was" for part in parts]
    glued = [f"The{'soup'.join(part)}s, {part[0].upper()} {part[0].lower()}" for part in parts]
    return spaced + glued


def compare_with_transformers(
    folder: str,
    imported: Dict[str, Any],
    dictionary: Dictionary,
    theirs: Any,
    ours: Tokenizer,
    rows: List[int],
    config: EncoderConfig,
    head: Optional[str],
) -> Tuple[int, float]:
    """Compare an import with the model in ``folder``: how many texts and pairs were compared, and
    with one of two token types the logits' difference on pairs, types and all.

    Args:
        imported: the checkpoint
        dictionary: its words, without <mask>
        theirs, ours: the tokenizers
        rows: the source's index of each symbol in the dictionary
        head: name of the classification head; None: no head

    Raises:
        ValueError: if they differ.
    """
    transformers = library("transformers")
    roberta = _build(imported, dictionary)
    kept = number_of_types(roberta)
    dictionary = roberta.encoder.dictionary
    marked = marked_texts(ours.markers)
    single = [(text,) for text in TEXTS + marked]
    pairs = list(zip(TEXTS, TEXTS[3:] + TEXTS[:3])) + [(t, TEXTS[0]) for t in marked[:MARKED]]
    cut = {}
    for texts in single + pairs:
        batch = theirs(*texts)
        tokens = [dictionary.bos()]
        cut_texts = ours.encode_batch(list(texts))
        for i, pieces in enumerate(cut_texts):
            tokens += [dictionary.eos()] * (ours.separators if i else 0)
            tokens += [*map(dictionary.index, pieces), dictionary.eos()]
        if batch["input_ids"] != [rows[token] for token in tokens]:
            shown = theirs.convert_ids_to_tokens(batch["input_ids"])
            raise ValueError(
                f"the tokenizer is not supported: {texts!r} is {shown[:40]} in transformers, and "
                f"{[dictionary[token] for token in tokens][:40]} here"
            )
        types = batch.get("token_type_ids", [0] * len(tokens))
        if kept == 2:  # a separator that the first text spells ends it here
            read = in_second_text(torch.tensor(tokens), dictionary.eos()).long().tolist()
            if types != read and dictionary.eos_word not in cut_texts[0]:
                raise ValueError(
                    f"the tokenizer must give {texts!r} the token types {read[:40]}, got "
                    f"{types[:40]}"
                )
            types = read
        if len(tokens) > config.longest:
            tokens = [*tokens[: config.longest - 1], dictionary.eos()]
        cut[texts] = types[: len(tokens)], tokens
    auto = "AutoModelForSequenceClassification" if head else "AutoModel"
    model = getattr(transformers, auto).from_pretrained(
        folder, config=config.theirs, dtype=torch.float32, trust_remote_code=False,
        local_files_only=True,
    ).eval()  # fmt: skip
    compared, of_pairs = single[: len(TEXTS) + MARKED] + pairs, 0.0
    for texts in compared:
        types, tokens = cut[texts]
        batch = {"input_ids": torch.tensor([[rows[token] for token in tokens]])}
        typed = {**batch, "token_type_ids": torch.tensor([types])}
        if kept == 2:
            batch = typed
        with torch.no_grad():
            features, _ = roberta(torch.tensor([tokens]), features_only=True)
            found = {"hidden states": features[:, 0]}
            if head:
                found["logits"] = roberta.classification_heads[head](features)
            output = model(**batch, output_hidden_states=True)
            wanted = {"hidden states": output.hidden_states[-1][:, 0]}
            wanted["logits"] = output.get("logits")  # None without a head
            for what, values in found.items():
                _check_close(what, texts, values, wanted[what])
            if head and kept < token_types(config) and any(types):
                difference = model(**typed).logits - found["logits"]
                of_pairs = max(of_pairs, difference.abs().max().item())
    return len(compared), of_pairs


def _build(imported: Dict[str, Any], dictionary: Dictionary) -> RobertaModel:
    """The model of a checkpoint, by its architecture: fairseq's own loader takes seconds more."""
    args = Namespace(**vars(imported["args"]), load_checkpoint_heads=True)
    words = Dictionary()
    for symbol in (*dictionary.symbols, "<mask>"):
        words.add_symbol(symbol)
    ARCH_CONFIG_REGISTRY[args.arch](args)
    task = Namespace(source_dictionary=words)
    model = ARCH_MODEL_REGISTRY[args.arch].build_model(args, task)
    model.load_state_dict(dict(imported["model"]))
    return model.eval()


def _check_close(what: str, texts: Tuple[str, ...], ours: Tensor, theirs: Tensor) -> None:
    bound = TOLERANCE * max(1.0, theirs.abs().max().item())
    difference = (ours - theirs).abs().max().item()
    if not difference <= bound:
        raise ValueError(
            f"the model is not supported: the {what} of {texts!r} must be within {bound:.1e} of "
            f"transformers', got {difference:.1e}"
        )
