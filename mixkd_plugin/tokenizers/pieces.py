"""The pieces of WordPiece, Unigram and BPE: which need which, and a model of some of them."""

import json
from typing import Any, Dict, Iterator, Set

import tokenizers

from .hf_tokenizer import merges_of


class Vocabulary:
    """The pieces of a model of a tokenizer.json; ValueError for a kind that is not supported."""

    def __init__(self, model: Dict[str, Any]):
        self._model, self._merges = model, {}
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._suffix = model.get("end_of_word_suffix") or ""
        if model["type"] == "Unigram":
            self.tokens = {i: piece for i, (piece, _) in enumerate(model["vocab"])}
        elif model["type"] == "WordPiece" or (model["type"] == "BPE" and not self._prefix):
            self.tokens = {i: piece for piece, i in model["vocab"].items()}
        else:
            raise ValueError(
                "--trim-vocabulary needs a WordPiece, Unigram or BPE tokenizer, got "
                f"{model['type']}{' with a prefix of pieces' if self._prefix else ''}"
            )
        self._ids = {piece: i for i, piece in self.tokens.items()}
        if model["type"] == "BPE":
            self._merges = {pair: rank for rank, pair in enumerate(merges_of(model))}

    def always(self) -> Set[int]:
        """Single characters and bytes, and what the model needs itself."""
        kept = {i for i, piece in self.tokens.items() if len(self._bare(piece)) == 1}
        if self._model.get("byte_fallback"):
            kept |= {self._ids[b] for b in map("<0x{:02X}>".format, range(256)) if b in self._ids}
        if self._model["type"] == "Unigram":
            scores = [score for _, score in self._model["vocab"]]
            kept |= {scores.index(min(scores)), self._model["unk_id"]} - {None}
        unknown = self._ids.get(self._model.get("unk_token"))
        return kept if unknown is None else kept | {unknown}

    def _bare(self, piece: str) -> str:
        bare = piece.removeprefix(self._prefix).removesuffix(self._suffix)
        return bare or piece

    def with_parts(self, pieces: Set[int]) -> Set[int]:
        """Pieces, and those that BPE makes on its way to them."""
        made = {part for i in pieces for part in self._steps(self.tokens.get(i, ""))}
        return pieces | {self._ids[part] for part in made}

    def _steps(self, piece: str) -> Iterator[str]:
        bare, end = piece, ""
        if self._suffix and piece.endswith(self._suffix):
            bare, end = piece.removesuffix(self._suffix), self._suffix
        parts = [*bare[:-1], bare[-1:] + end]
        while True:
            pairs = [
                (self._merges[pair], at)
                for at, pair in enumerate(zip(parts, parts[1:]))
                if pair in self._merges
            ]
            if not pairs:
                return
            at = min(pairs)[1]
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
            yield parts[at]

    def inside(self, text: str) -> Set[int]:
        """All pieces that occur in a text, which the model cuts with these as with all others."""
        longest = max(map(len, self._ids))
        found = (
            form
            for start in range(len(text))
            for end in range(start + 1, min(start + longest, len(text)) + 1)
            for part in [text[start:end]]
            for form in (part, self._prefix + part, part + self._suffix)
        )
        return {self._ids[form] for form in found if form in self._ids}

    def smaller(self, kept: Set[int]) -> Dict[str, Any]:
        """The model with these pieces, numbered in their order."""
        model = dict(self._model)
        order = sorted(kept)
        if model["type"] == "Unigram":
            model["vocab"] = [model["vocab"][i] for i in order]
            if model["unk_id"] is not None:
                model["unk_id"] = order.index(model["unk_id"])
            return model
        model["vocab"] = {self.tokens[i]: new for new, i in enumerate(order)}
        if self._merges:
            model["merges"] = [
                merge
                for merge, pair in zip(model["merges"], merges_of(model))
                if all(part in model["vocab"] for part in (*pair, "".join(pair)))
            ]
        return model


def rebuilt(description: Dict[str, Any], vocabulary: Vocabulary, kept: Set[int]) -> Any:
    """The tokenizer of a tokenizer.json with a part of the model's pieces and all added tokens."""
    added = description["added_tokens"]
    kept = kept | {token["id"] for token in added} & vocabulary.tokens.keys()
    outside = sorted(token["id"] for token in added if token["id"] not in vocabulary.tokens)
    numbers = {old: new for new, old in enumerate([*sorted(kept), *outside])}
    renumbered = {
        **description,
        "model": vocabulary.smaller(kept),
        "added_tokens": [{**token, "id": numbers[token["id"]]} for token in added],
        "post_processor": _renumbered(description["post_processor"], numbers),
    }
    return tokenizers.Tokenizer.from_str(json.dumps(renumbered))


def _renumbered(processor: Any, numbers: Dict[int, int]) -> Any:
    """A post-processor of tokenizer.json with the indices of other special tokens."""
    if processor is None:
        return None
    changed = dict(processor)
    for name in ("cls", "sep"):  # BertProcessing and RobertaProcessing
        if name in processor:
            token, index = processor[name]
            changed[name] = [token, numbers[index]]
    if "special_tokens" in processor:  # TemplateProcessing
        changed["special_tokens"] = {
            name: {**token, "ids": [numbers[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    if "processors" in processor:  # Sequence
        changed["processors"] = [_renumbered(part, numbers) for part in processor["processors"]]
    return changed
