"""A folder of a BERT of random weights, as Hugging Face saves one."""

import json

import pytest
import torch

import mixkd_plugin  # noqa: F401  (lets torch read the checkpoint's Namespace)

SPECIAL = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
WORDS = ["the", "soup", "##s", "was", "cold", "[unused0]", "!", '"', "é", "日"]
VOCABULARY = ["[PAD]", *WORDS[:4], "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[4:]]
WIDTH, INNER, LAYERS, HEADS, POSITIONS = 24, 40, 3, 4, 20
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12, "vocab_size": len(VOCABULARY), "type_vocab_size": 2,
    "max_position_embeddings": POSITIONS, "hidden_size": WIDTH, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
}  # fmt: skip


def random_weights(config=CONFIG):
    """BERT's tensors, with embeddings as small as BERT's, for which LayerNorm's epsilon matters."""
    generator = torch.Generator().manual_seed(3)
    width, inner = config["hidden_size"], config["intermediate_size"]

    def normal(*shape, std=0.05):
        return std * torch.randn(*shape, generator=generator)

    state = {
        "embeddings.word_embeddings.weight": normal(config["vocab_size"], width),
        "embeddings.position_embeddings.weight": normal(config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": normal(2, width),
        "embeddings.position_ids": torch.arange(config["max_position_embeddings"])[None],
        "pooler.dense.weight": normal(width, width),
        "pooler.dense.bias": normal(width),
    }
    shapes = {
        "attention.self.query": (width, width), "attention.self.key": (width, width),
        "attention.self.value": (width, width), "attention.output.dense": (width, width),
        "attention.output.LayerNorm": (width,), "intermediate.dense": (inner, width),
        "output.dense": (width, inner), "output.LayerNorm": (width,),
    }  # fmt: skip
    modules = {"embeddings.LayerNorm": (width,)}
    for i in range(config["num_hidden_layers"]):
        modules.update({f"encoder.layer.{i}.{name}": shape for name, shape in shapes.items()})
    for name, shape in modules.items():
        offset = 1.0 if name.endswith("LayerNorm") else 0.0
        state[f"{name}.weight"] = offset + normal(*shape, std=0.3)
        state[f"{name}.bias"] = normal(shape[0], std=0.3)
    return state


def write_source(folder, config=None, state=None, vocabulary=VOCABULARY, weights="bin"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "vocab.txt").write_text("".join(f"{s}\n" for s in vocabulary), encoding="utf-8")
    state = random_weights() if state is None else state
    if weights == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        safetensors = pytest.importorskip("safetensors.torch")
        safetensors.save_file(state, str(folder / "model.safetensors"))
    return folder
