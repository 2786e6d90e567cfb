"""The tokenizers that encode.py knows: text in, symbols of a fairseq dictionary out, and back."""

import json
import os
from argparse import Namespace
from functools import partial
from typing import Callable, List, NamedTuple, Tuple

from fairseq.data import encoders

TOKENIZERS = {
    "wordpiece": "wordpiece:DIR (BERT: tokenizer.json or vocab.txt)",
    "gpt2": "gpt2:DIR (RoBERTa: encoder.json and vocab.bpe)",
    "sentencepiece": "sentencepiece:FILE or DIR (XLM-R: sentencepiece.bpe.model)",
}
FAIRSEQ_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # in every dictionary of our task
BERT_SETTINGS = {  # of tokenizer_config.json: what `tokenizers` calls them, and their defaults
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
SENTENCEPIECE_FILE = "sentencepiece.bpe.model"  # as Hugging Face and our imports name it


Encode, Decode = Callable[[str], List[str]], Callable[[List[str]], str]
EncodeBatch = Callable[[List[str]], List[List[str]]]


class Tokenizer(NamedTuple):
    encode: Encode
    encode_batch: EncodeBatch  # many texts, in threads
    decode: Decode  # a text with the same pieces; wordpiece's lack case and blanks at punctuation
    dictionary: str  # where the model's dict.txt is expected
    separators: int  # </s> between the texts of a pair, besides the one that ends each text


def parse_spec(spec: str) -> Tuple[str, str]:
    """Kind and path of KIND:PATH; of a sentencepiece model the file.

    Raises:
        ValueError: for a kind that is not in TOKENIZERS.
    """
    kind, _, path = spec.partition(":")
    if kind not in TOKENIZERS or not path:
        raise ValueError(f"--tokenizer {spec!r}; allowed: {'; '.join(TOKENIZERS.values())}")
    if kind == "sentencepiece" and os.path.isdir(path):
        path = os.path.join(path, SENTENCEPIECE_FILE)
    return kind, path


def build_tokenizer(spec: str) -> Tokenizer:
    """A tokenizer for KIND:PATH.

    Raises:
        ValueError: for a kind that is not in TOKENIZERS, or a missing or broken file.
    """
    kind, path = parse_spec(spec)
    folder = os.path.dirname(path) if kind == "sentencepiece" else path
    build = {"wordpiece": _wordpiece, "gpt2": _gpt2, "sentencepiece": _sentencepiece}[kind]
    dictionary, separators = os.path.join(folder, "dict.txt"), 0 if kind == "wordpiece" else 1
    try:
        return Tokenizer(*build(path), dictionary, separators)
    except Exception as error:  # each library raises another kind, one of them just this
        raise ValueError(f"--tokenizer {spec}: {error}") from error


def _existing(*parts: str) -> str:
    path = os.path.join(*parts)
    if not os.path.isfile(path):
        raise ValueError(f"no file {path}")
    return path


def _fairseqs(**settings) -> Tuple[Encode, Decode]:
    """fairseq's own `--bpe`: training data must be cut up as a served model cuts up raw text."""
    bpe = encoders.build_bpe(Namespace(**settings))
    return lambda text: bpe.encode(text).split(), lambda pieces: bpe.decode(" ".join(pieces))


def _gpt2(folder: str) -> Tuple[Encode, EncodeBatch, Decode]:
    """`tokenizers` cuts many texts as fairseq does, and faster."""
    import tokenizers

    encoder, merges = _existing(folder, "encoder.json"), _existing(folder, "vocab.bpe")
    encode, decode = _fairseqs(bpe="gpt2", gpt2_encoder_json=encoder, gpt2_vocab_bpe=merges)
    fast = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(encoder, merges))
    fast.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return encode, lambda texts: [[*map(str, e.ids)] for e in fast.encode_batch(texts)], decode


def _sentencepiece(path: str) -> Tuple[Encode, EncodeBatch, Decode]:
    encode, decode = _fairseqs(
        bpe="sentencepiece",
        sentencepiece_model=_existing(path),
        sentencepiece_enable_sampling=False,
        sentencepiece_alpha=None,
    )
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=path)
    threads = int(os.environ.get("RAYON_NUM_THREADS", -1))  # -1: all CPUs
    return encode, partial(model.encode, out_type=str, num_threads=threads), decode


def _wordpiece(folder: str) -> Tuple[Encode, EncodeBatch, Decode]:
    """BERT's pieces. [UNK] is in no dict.txt, so that fairseq reads it as <unk>."""
    import tokenizers  # of the extra `quickstart`

    tokenizer, decoder = load_wordpiece(folder), tokenizers.decoders.WordPiece()

    def encode_batch(texts: List[str]) -> List[List[str]]:
        return [e.tokens for e in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return lambda text: encode_batch([text])[0], encode_batch, decoder.decode


def load_wordpiece(folder: str):
    """The `tokenizers` tokenizer of tokenizer.json or vocab.txt.

    Where there is a tokenizer_config.json of BERT's, it decides about case, accents and Chinese, by
    its silence too: so does transformers.
    """
    import tokenizers

    config = {"tokenizer_class": "PreTrainedTokenizerFast"}  # whose tokenizer.json decides
    if os.path.exists(os.path.join(folder, "tokenizer_config.json")):
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
            config = json.load(f)
    settings = {ours: config.get(name, usual) for name, (ours, usual) in BERT_SETTINGS.items()}
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        return tokenizers.BertWordPieceTokenizer(_existing(folder, "vocab.txt"), **settings)
    tokenizer = tokenizers.Tokenizer.from_file(path)
    if type(tokenizer.model).__name__ != "WordPiece":
        raise ValueError(f"{path} is no WordPiece tokenizer")
    of_bert = config.get("tokenizer_class") != "PreTrainedTokenizerFast"
    if of_bert and type(tokenizer.normalizer).__name__ == "BertNormalizer":
        tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(**settings)
    # what the model was last used for may have left a maximal length of its own
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
