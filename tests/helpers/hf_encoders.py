"""Small Hugging Face classifiers of many families, with fast tokenizers of the toy task's words."""

from pathlib import Path
from typing import Any

import tokenizers
import torch
from tiny_models import dictionary_with
from tokenizers import models, pre_tokenizers, processors
from toy import WORDS

SIZES = dict(
    hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=40, initializer_range=0.5,
)  # fmt: skip
ROBERTA = {**SIZES, "type_vocab_size": 1}
DEBERTA = {
    **SIZES, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}  # fmt: skip
# model_type -> prefix of its classes, configuration, whether its tokenizer is as BERT's
FAMILIES = {
    "bert": ("Bert", SIZES, True),
    "roberta": ("Roberta", ROBERTA, False),
    "xlm-roberta": ("XLMRoberta", ROBERTA, False),
    "camembert": ("Camembert", ROBERTA, False),
    "distilbert": (
        "DistilBert",
        dict(dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=40,
             initializer_range=0.5),
        True,
    ),
    "electra": ("Electra", {**SIZES, "embedding_size": 8}, True),
    "albert": ("Albert", {**SIZES, "embedding_size": 8}, True),
    "mpnet": ("MPNet", SIZES, False),
    "deberta": ("Deberta", DEBERTA, True),
    "deberta-v2": ("DebertaV2", {**DEBERTA, "embedding_size": 8, "position_buckets": 4}, True),
    "modernbert": ("ModernBert", {**SIZES, "local_attention": 4}, True),
}  # fmt: skip
BERT = {"cls": "[CLS]", "pad": "[PAD]", "sep": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}
FAIRSEQ = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


TYPED = ("bert", "electra", "albert", "deberta", "deberta-v2")  # by their tokenizers


def dictionary_of(words=WORDS):
    return dictionary_with((*words, "<mask>"))


def write_tokenizer(
    folder: Path, transformers, as_bert: bool, words=WORDS, typed: bool = False
) -> Any:
    """Special symbols among the words: fairseq's dictionaries have another order."""
    names = BERT if as_bert else FAIRSEQ
    first = ["cls", "pad", "sep", "unk"] if not as_bert else ["pad", "unk"]
    symbols = [names[role] for role in first] + list(reversed(words))
    symbols += [name for role, name in names.items() if role not in first]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    library = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=names["unk"]))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    start, end = names["cls"], names["sep"]
    pair = f"{start} $A {end} $B:1 {end}:1" if as_bert else f"{start} $A {end} {end} $B {end}"
    library.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=pair,
        special_tokens=[(name, vocabulary[name]) for name in (start, end)],
    )  # fmt: skip
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=library,
        model_input_names=["input_ids", *["token_type_ids"] * typed, "attention_mask"],
        **{f"{role}_token": name for role, name in names.items()},
    )
    wrapped.save_pretrained(folder)
    return wrapped


def write_classifier(
    kind: str, folder: Path, transformers, head: str = "ForSequenceClassification", words=WORDS,
    tokenizer=None, **config,
) -> Any:  # fmt: skip
    """A model of random weights; the model.

    Args:
        tokenizer: its tokenizer, in the folder (default: one of words)
    """
    prefix, sizes, as_bert = FAMILIES[kind]
    if tokenizer is None:
        tokenizer = write_tokenizer(folder, transformers, as_bert, words, kind in TYPED)
    settings = {
        "vocab_size": len(tokenizer) + 3, "pad_token_id": tokenizer.pad_token_id, **sizes, **config,
    }  # fmt: skip
    torch.manual_seed(0)
    kind = getattr(transformers, f"{prefix}{head}")
    model = kind(getattr(transformers, f"{prefix}Config")(**settings)).eval()
    with torch.no_grad():  # as in a trained model: no bias is 0
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model
