"""Small Hugging Face models with random weights and tokenizers, saved as their users save them."""

import json
from pathlib import Path
from typing import Dict

import sentencepiece
import tokenizers
import torch
from tiny_tokenizers import BERT, wordpieces

TEXTS = [
    "A charming, often affecting journey!",
    "The soup was cold; the soup's bowl wasn't.",
    "Un café très chaud, s'il vous plaît — 日本語も少し。",
    "numbers 1234567 and CAPITALS, e-mails (me@here.org) & #tags",
    "x",
    "unaffordable unaffectedness",
    "  two  blanks,  and  more ",
    "the the the the the the the the the the the the",
]
PAIRS = list(zip(TEXTS, TEXTS[3:] + TEXTS[:3]))
CORPUS = [*TEXTS, *(" ".join(pair) for pair in PAIRS)]
SIZES = dict(
    hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
    max_position_embeddings=80,
)  # fmt: skip
DISTIL_SIZES = dict(dim=24, hidden_dim=40, n_layers=3, n_heads=4, max_position_embeddings=80)


def _wordpiece(folder: Path):
    vocabulary = wordpieces(CORPUS, BERT)
    tokenizers.BertWordPieceTokenizer(vocabulary).save_model(str(folder))
    return len(vocabulary)


def _byte_pairs(folder: Path):
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(CORPUS, vocab_size=330, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    return trained.get_vocab_size()


def _sentencepiece(folder: Path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=120, character_coverage=1.0, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "sentencepiece.bpe.model")
    )
    return processor.get_piece_size()


def write_byte_pairs(folder: Path):
    """Under fairseq's names."""
    _byte_pairs(folder)
    (folder / "vocab.json").rename(folder / "encoder.json")
    (folder / "merges.txt").rename(folder / "vocab.bpe")


# kinds of `encode --tokenizer` -> what writes the files of one
WRITERS = {"wordpiece": _wordpiece, "gpt2": write_byte_pairs, "sentencepiece": _sentencepiece}
# that kind for a model, where its tokenizer is read without its Hugging Face folder
OLD_SPELLINGS = {"bert": "wordpiece", "roberta": "gpt2", "xlm-roberta": "sentencepiece"}

# name -> class prefix, how its tokenizer is made, symbols beyond the tokenizer's, configuration
KINDS = {
    "bert": ("Bert", _wordpiece, 3, SIZES),
    "distilbert": ("DistilBert", _wordpiece, 0, DISTIL_SIZES),
    "roberta": ("Roberta", _byte_pairs, 2, {**SIZES, "layer_norm_eps": 1e-5}),
    "xlm-roberta": ("XLMRoberta", _sentencepiece, 2, {**SIZES, "layer_norm_eps": 1e-5}),
    "camembert": ("Camembert", _sentencepiece, 5, {**SIZES, "layer_norm_eps": 1e-5}),
}


def make(kind: str, folder: Path, transformers, head: str = "SequenceClassification", **config):
    """A model of random weights in ``folder``, and its tokenizer; returns the model."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix, make_tokenizer, more, sizes = KINDS[kind]
    symbols = make_tokenizer(folder)
    torch.manual_seed(0)
    settings: Dict = {"vocab_size": symbols + more, **sizes, **config}
    if "Bert" not in prefix:
        settings.update(pad_token_id=1, type_vocab_size=1)
    model_class = getattr(transformers, f"{prefix}For{head}" if head else f"{prefix}Model")
    model = model_class(getattr(transformers, f"{prefix}Config")(**settings)).eval()
    with torch.no_grad():  # as in a trained model: no bias is 0, no head is nearly constant
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name and "layer_norm" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    change(folder / "config.json", model_type=kind)
    return model


def change(path: Path, **changes):
    """Change values of a JSON file, or write one of these."""
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **changes}))
