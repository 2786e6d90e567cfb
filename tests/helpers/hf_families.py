"""Small tokenizers of the families of Hugging Face encoders, saved as transformers saves them."""

import json
from pathlib import Path
from typing import Any, Sequence

import tokenizers
from tiny_tokenizers import BERT, wordpieces
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _byte_pairs(texts: Sequence[str], special: Sequence[str]) -> dict:
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(
        texts, vocab_size=500, min_frequency=1, special_tokens=special, show_progress=False
    )
    model = json.loads(made.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _unigram(texts: Sequence[str], special: Sequence[str]) -> list:
    made = tokenizers.Tokenizer(tokenizers.models.Unigram())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    unknown = next(name for name in special if "unk" in name.lower())
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    found = json.loads(made.to_str())["model"]["vocab"]
    pieces = [(round(score, 6), piece) for piece, score in found[len(special) :]]
    return [*map(tuple, found[: len(special)])] + [(p, s) for s, p in sorted(pieces, reverse=True)]


# family -> tokenizer's class, its vocabulary, and the special symbols in their order
FAMILIES = {
    "bert": ("BertTokenizer", wordpieces, BERT),
    "distilbert": ("BertTokenizer", wordpieces, BERT),
    "electra": ("BertTokenizer", wordpieces, BERT),
    "mpnet": ("MPNetTokenizer", wordpieces, [*ROBERTA[:4], "[UNK]", "<mask>"]),
    "roberta": ("RobertaTokenizer", _byte_pairs, ROBERTA),
    "deberta": ("DebertaTokenizer", _byte_pairs, ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]),
    "modernbert": (None, _byte_pairs, ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]),
    "xlm-roberta": ("XLMRobertaTokenizer", _unigram, ROBERTA),
    "camembert": (
        "CamembertTokenizer",
        _unigram,
        ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"],
    ),
    "albert": ("AlbertTokenizer", _unigram, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
    "deberta-v2": ("DebertaV2Tokenizer", _unigram, ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]),
    "t5": ("T5Tokenizer", _unigram, ["<pad>", "</s>", "<unk>"]),
}


def _modernbert(transformers, vocab: dict, merges: list) -> Any:
    made = tokenizers.Tokenizer(models.BPE(vocab, merges))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")],
    )
    # between the symbols of the model there are added ones: runs of blanks, and words
    blanks = [tokenizers.AddedToken(" " * n, normalized=False) for n in (3, 2)]
    made.add_tokens([*blanks, tokenizers.AddedToken("|||EMAIL|||", normalized=False)])
    names = {f"{role}_token": f"[{role.upper()}]" for role in ("unk", "cls", "sep", "pad", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def write_family(family: str, folder: Path, transformers, texts: Sequence[str]) -> Any:
    """Train a tokenizer of a family, save it and a configuration in ``folder``; return it as read
    by AutoTokenizer."""
    kind, train, special = FAMILIES[family]
    vocabulary = train(texts, special)
    given = vocabulary if train is _byte_pairs else {"vocab": vocabulary}
    if kind is None:
        tokenizer = _modernbert(transformers, **given)
    else:
        tokenizer = getattr(transformers, kind)(**given)
    tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.for_model(family, vocab_size=len(tokenizer) + 3)
    config.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)
