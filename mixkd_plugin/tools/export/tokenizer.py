"""The tokenizer of a fairseq student, as the libraries `tokenizers` and transformers read it.

It keeps its own indices: the exported embedding table is sorted by them, and a token that the
student's dict.txt lacks gets the embedding of <unk>.
"""

import os
from typing import Any, NamedTuple

from fairseq.data import Dictionary

from ...errors import prefixed
from ...interop import library
from ...tokenizers.hf_tokenizer import write_settings
from ...tokenizers.library import FAIRSEQ_SPECIAL, PADDING, ROLES, Tokenizer
from ...tokenizers.specs import parse_spec


class Exported(NamedTuple):
    """
    tokenizer: of `tokenizers`
    rows: the index in the dictionary for each index of the tokenizer
    names: its tokens for fairseq's special symbols
    side: the end of a long text that is cut off, right or left
    types: token types of the student, 1 or 2
    """

    tokenizer: Any
    rows: list[int]
    names: dict[str, str]
    side: str
    types: int

    @property
    def padding(self) -> int:
        return self.tokenizer.token_to_id(self.names[PADDING])


def export_tokenizer(
    spec: str,
    trained: Tokenizer,
    dictionary: Dictionary,
    init: str | None,
    separator: str | None,
    types: int,
) -> Exported:
    """The tokenizer that a student was trained with, in the layout of its training.

    Args:
        spec, trained: of `encode --tokenizer SPEC`
        dictionary: of the student
        init, separator: symbols before all texts and between two of them, in addition to the
            </s> that ends each text; None: no symbol
        types: see :class:`Exported`

    Raises:
        ValueError: for a tokenizer that `tokenizers` cannot follow.
    """
    tokenizers, symbols = library("tokenizers"), dict(trained.symbols)
    # the library raises nothing narrower
    with prefixed(f"--tokenizer {spec} cannot be exported", Exception):
        if trained.library is None:
            tokenizer = _of_sentencepiece(parse_spec(spec)[1])
            vocabulary = tokenizer.get_vocab(with_added_tokens=True)
            symbols = {index: token for token, index in vocabulary.items()}
        else:
            tokenizer = tokenizers.Tokenizer.from_str(trained.library.to_str())
        names = {s: tokenizer.id_to_token(i) for i, s in symbols.items() if s in FAIRSEQ_SPECIAL}
        names = {symbol: names.get(symbol, symbol) for symbol in FAIRSEQ_SPECIAL}
        added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        tokenizer.add_special_tokens(
            [tokenizers.AddedToken(n, normalized=False) for n in names.values() if n not in added]
        )
        symbols |= {tokenizer.token_to_id(name): symbol for symbol, name in names.items()}
        before, between = ([names.get(s, s)] if s is not None else [] for s in (init, separator))
        end = names["</s>"]
        single, second = [*before, "$A", end], [*between, "$B", end]
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=single,
            pair=[*single, *(f"{piece}:{types - 1}" for piece in second)],
            special_tokens=[(n, tokenizer.token_to_id(n)) for n in {*before, *between, end}],
        )
    rows = [dictionary.unk()] * (1 + max(symbols))
    for index, symbol in symbols.items():
        rows[index] = dictionary.index(symbol)
    return Exported(tokenizer, rows, names, trained.truncation_side, types)


def write_tokenizer(exported: Exported, folder: str, longest: int) -> None:
    """The files that AutoTokenizer reads; `tokenizers` alone needs only tokenizer.json.

    Texts are cut to ``longest`` tokens: by `tokenizers` always, by transformers as it does with
    ``truncation=True``.
    """
    exported.tokenizer.enable_truncation(longest, direction=exported.side)
    exported.tokenizer.save(os.path.join(folder, "tokenizer.json"))
    roles = {role: exported.names[symbol] for role, symbol in zip(ROLES, FAIRSEQ_SPECIAL)}
    write_settings(roles, folder, longest, exported.side, exported.types)


def _of_sentencepiece(path: str) -> Any:
    """By transformers; a piece that sentencepiece never gives gets a name that no text has."""
    converter = library("transformers.convert_slow_tokenizer").SpmConverter
    proto = library("sentencepiece.sentencepiece_model_pb2").ModelProto()
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ValueError(f"{path}: only a unigram model can be exported")
    kinds = proto.SentencePiece
    usable = (kinds.NORMAL, kinds.USER_DEFINED, kinds.BYTE)
    lowest = min(piece.score for piece in proto.pieces if piece.type in usable)
    vocabulary = [
        (p.piece, p.score)
        if p.type in usable
        else (p.piece if p.piece in FAIRSEQ_SPECIAL else f"{p.piece} ", lowest)
        for p in proto.pieces
    ]
    return converter.build_tokenizer_from_spm_proto(proto, vocabulary)
