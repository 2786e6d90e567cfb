"""A student to export, and texts that it has not seen."""

import hf_models
import torch
import toy
from encode_files import write_glue
from tiny_models import dictionary_with

from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.encode.encode import encode
from mixkd_plugin.tools.encode.sources import glue_source
from mixkd_plugin.tools.export.export import load
from mixkd_plugin.tools.export.texts import fairseq_row

NEW_TEXTS = [  # of which the student has seen nothing, and some pieces are not in its dictionary
    "The soup wasn't charming: 42 bowls, été!",
    "Ünaffectedly (unaffordable)  journeys — #日本",
    "x",
    "the " * 15,
]


NEW_PAIRS = list(zip(NEW_TEXTS, reversed(NEW_TEXTS)))


class Trained:
    """A student of a few updates on pairs, and a dictionary that lacks some of the pieces."""

    def __init__(self, folder, kind):
        tokenizers = folder / "tokenizer"
        tokenizers.mkdir()
        hf_models.WRITERS[kind](tokenizers)
        file = "/sentencepiece.bpe.model" if kind == "sentencepiece" else ""
        self.tokenizer = f"{kind}:{tokenizers}{file}"
        pieces = build_tokenizer(self.tokenizer).encode
        known = {piece for text in hf_models.TEXTS[:6] for piece in pieces(text)}
        dictionary = dictionary_with(sorted(known))
        dictionary.save(str(tokenizers / "dict.txt"))
        self.unknown = {p for text in NEW_TEXTS for p in pieces(text)} - {*dictionary.symbols}
        names = ("entailment", "not_entailment")
        rows = [(*pair, names[i % 2]) for i, pair in enumerate(hf_models.PAIRS)]
        glue = write_glue(folder / "glue", ["sentence1", "sentence2", "label"], rows)
        self.data = str(folder / "data")
        flags = encode(glue_source(str(glue), "RTE"), self.tokenizer, self.data, max_tokens=60)
        toy.fit(
            self.data, folder / "student", *flags.split(), "--sm-weight", 0, "--tmkd-weight", 0,
            "--max-epoch", 3, "--lr", 0.01, "--layer-norm-eps", 1e-6,
        )  # fmt: skip
        self.checkpoint = str(folder / "student" / "checkpoint_last.pt")
        with toy.edited(self.checkpoint) as state:
            torch.manual_seed(0)
            for name, tensor in state["model"].items():
                # so that texts make a difference
                if name.endswith("weight") and "norm" not in name:
                    tensor.add_(0.3 * torch.randn_like(tensor))

    @torch.no_grad()
    def logits(self, texts):
        """Of the fairseq student, one text at a time."""
        loaded, tokenizer = load(self.checkpoint, None), build_tokenizer(self.tokenizer)
        rows = [fairseq_row(t, tokenizer, loaded.task)[None] for t in texts]
        return torch.cat([loaded.logits({"net_input": {"src_tokens": row}}) for row in rows])
