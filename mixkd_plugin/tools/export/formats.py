"""A student in the formats that serve it: each is written to a folder, and opened from it.

What is opened is a function from token ids (B, T), padded with <pad>, to logits (B, C).
"""

import json
import os
import tempfile
import warnings
from typing import Callable, Dict, List, NamedTuple, Optional

import torch
from fairseq.models.roberta.model import RobertaModel
from torch import Tensor

from ..hf_config import ACTIVATIONS, ROBERTA
from ..interop import library, quiet
from .serving_module import ServedStudent

Logits = Callable[[Tensor], Tensor]


class Student(NamedTuple):
    """What an export is made of.

    labels: names of the classes; None for regression
    """

    model: RobertaModel
    head: str
    padding: int
    labels: Optional[List[str]]
    num_classes: int


class Format(NamedTuple):
    """file: the one that holds the weights"""

    file: str
    write: Callable[[Student, str], None]
    open: Callable[[str, int], Logits]


def add_rows(model: RobertaModel, rows: List[int]) -> None:
    """Give the embedding table copies of some of its rows; see export_tokenizer.py."""
    table = model.encoder.sentence_encoder.embed_tokens
    weight = table.weight.data
    table.weight = torch.nn.Parameter(torch.cat([weight, weight[rows]]))
    table.num_embeddings = len(table.weight)


def write_config(student: Student, folder: str) -> None:
    """config.json as transformers has it; beside ONNX and TorchScript it tells the classes."""
    args, encoder = student.model.args, student.model.encoder.sentence_encoder
    first = encoder.layers[0]
    labels = student.labels or [f"LABEL_{i}" for i in range(student.num_classes)]
    config = {
        "architectures": ["RobertaForSequenceClassification"],
        "model_type": "roberta",
        "vocab_size": encoder.embed_tokens.num_embeddings,
        "hidden_size": first.fc1.in_features,
        "num_hidden_layers": len(encoder.layers),
        "num_attention_heads": first.self_attn.num_heads,
        "intermediate_size": first.fc1.out_features,
        "hidden_act": _activation(student),
        "hidden_dropout_prob": args.dropout,
        "attention_probs_dropout_prob": args.attention_dropout,
        "classifier_dropout": args.pooler_dropout,
        "max_position_embeddings": student.model.max_positions() + student.padding + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": first.final_layer_norm.eps,
        "bos_token_id": 0,
        "pad_token_id": student.padding,
        "eos_token_id": 2,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
        "problem_type": "regression" if student.labels is None else "single_label_classification",
    }
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)


def _activation(student: Student) -> str:
    """transformers' name, or fairseq's where it has none."""
    ours = student.model.args.activation_fn
    return next((theirs for theirs, name in ACTIVATIONS.items() if name == ours), ours)


# --- Hugging Face ---


def write_hf(student: Student, folder: str) -> None:
    """A RobertaForSequenceClassification, the inverse of hf_layout.py.

    Raises:
        ValueError: naming what in the student RoBERTa of transformers has not.
    """
    model, args = student.model, student.model.args
    encoder, head = model.encoder.sentence_encoder, model.classification_heads[student.head]
    ServedStudent(model, student.head)  # checks that it is the encoder that we know
    for what, fits in {
        "--encoder-normalize-before": not args.encoder_normalize_before,
        "--no-token-positional-embeddings": encoder.embed_positions is not None,
        "no --layernorm-embedding": encoder.layernorm_embedding is not None,
        f"--pooler-activation-fn {args.pooler_activation_fn}": args.pooler_activation_fn == "tanh",
        f"--activation-fn {args.activation_fn}": _activation(student) in ACTIVATIONS,
        "scaled embeddings": encoder.embed_scale == 1,
    }.items():
        if not fits:
            raise ValueError(f"transformers' RoBERTa cannot have {what}; another --to can")
    words, positions = encoder.embed_tokens.weight, encoder.embed_positions.weight
    width = words.size(1)
    tensors = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": positions,
        "embeddings.token_type_embeddings.weight": torch.zeros(1, width),
        **_module("embeddings.LayerNorm", encoder.layernorm_embedding),
    }
    for i, layer in enumerate(encoder.layers):
        for theirs, (ours, _) in ROBERTA.modules.items():
            tensors.update(_module(f"{ROBERTA.layers}{i}.{theirs}", layer.get_submodule(ours)))
    tensors = {f"{ROBERTA.prefix}{name}": tensor for name, tensor in tensors.items()}
    for theirs, ours in zip(ROBERTA.head, (head.dense, head.out_proj)):
        tensors.update(_module(theirs, ours))
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    path = os.path.join(folder, "model.safetensors")
    library("safetensors.torch").save_file(tensors, path, metadata={"format": "pt"})


def _module(name: str, module) -> Dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def open_hf(folder: str, padding: int) -> Logits:
    auto = library("transformers").AutoModelForSequenceClassification
    model = auto.from_pretrained(folder).eval()
    return lambda ids: model(input_ids=ids, attention_mask=ids.ne(padding).long()).logits


# --- TorchScript ---


def write_torchscript(student: Student, folder: str) -> None:
    example = torch.tensor([[0, 5, 6, 2], [0, 5, 2, student.padding]])
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and there still
        traced = torch.jit.trace(ServedStudent(student.model, student.head), (example,))
        content = torch.jit.freeze(traced).save_to_buffer()
    with open(os.path.join(folder, "model.ts"), "wb") as file:  # torch aborts on a full disk
        file.write(content)


def open_torchscript(folder: str, padding: int) -> Logits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(os.path.join(folder, "model.ts"))


# --- ONNX ---


def write_onnx(student: Student, folder: str) -> None:
    for name in ("onnx", "onnxscript"):
        library(name)
    example = torch.tensor([[0, 5, 6, 2], [0, 5, 2, student.padding]])
    dynamic = {"input_ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}}
    with quiet():
        torch.onnx.export(
            ServedStudent(student.model, student.head),
            (example,),
            os.path.join(folder, "model.onnx"),
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=False,  # one file; protobuf ends at 2 GB
        )


def write_onnx_int8(student: Student, folder: str) -> None:
    """Weights in int8, one scale for each channel; activations quantised as they come."""
    quantization = library("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as work:
        write_onnx(student, work)
        with quiet():
            quantization.quantize_dynamic(
                os.path.join(work, "model.onnx"),
                os.path.join(folder, "model.onnx"),
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )


def open_onnx(folder: str, padding: int) -> Logits:
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    path = os.path.join(folder, "model.onnx")
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def logits(ids: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"input_ids": ids.numpy()})[0])

    return logits


FORMATS = {
    "hf": Format("model.safetensors", write_hf, open_hf),
    "onnx": Format("model.onnx", write_onnx, open_onnx),
    "onnx-int8": Format("model.onnx", write_onnx_int8, open_onnx),
    "torchscript": Format("model.ts", write_torchscript, open_torchscript),
}
