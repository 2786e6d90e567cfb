"""The export formats: each is written to a folder, and opened from it.

An opened export is a function from token ids (B, T), padded, to logits (B, C).
"""

import os
import tempfile
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn

from ..interop import library, quiet
from .model import FirstTokenModel, to_distilbert

Logits = Callable[[Tensor], Tensor]


class Format(NamedTuple):
    """
    file: name of the file with the weights
    write: writes a RobertaForSequenceClassification to a folder
    tolerance: largest difference of logits; for int8 as a share of their range
    agreement: least share of texts of the same class
    """

    file: str
    write: Callable[[nn.Module, str], None]
    open: Callable[[str], Logits]
    tolerance: float
    agreement: float


def write_hf(model: nn.Module, folder: str) -> None:
    activation = model.classifier.activation_fn
    if activation in (torch.relu, nn.functional.relu):
        model = to_distilbert(model)
    elif activation is not torch.tanh:
        raise ValueError(
            "--pooler-activation-fn must be tanh or relu for --to hf, got "
            f"{activation.__name__}: another --to can have it"
        )
    model.save_pretrained(folder)


def open_hf(folder: str) -> Logits:
    auto = library("transformers").AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, local_files_only=True).eval()
    padding = model.config.pad_token_id
    return lambda ids: model(input_ids=ids, attention_mask=ids.ne(padding).long()).logits


def write_onnx(model: nn.Module, folder: str) -> None:
    for name in ("onnx", "onnxscript"):
        library(name)
    model.config.save_pretrained(folder)
    config = model.config
    start, end, padding = config.bos_token_id, config.eos_token_id, config.pad_token_id
    dynamic = {"input_ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}}
    with quiet():
        torch.onnx.export(
            FirstTokenModel(model),
            (torch.tensor([[start, end, end], [start, end, padding]]),),
            os.path.join(folder, "model.onnx"),
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=False,  # one file; protobuf ends at 2 GB
        )


def write_onnx_int8(model: nn.Module, folder: str) -> None:
    """Weights in int8, one scale for each channel; activations are quantised as they come."""
    quantization = library("onnxruntime.quantization")
    model.config.save_pretrained(folder)
    with tempfile.TemporaryDirectory() as work:
        write_onnx(model, work)
        with quiet():
            quantization.quantize_dynamic(
                os.path.join(work, "model.onnx"),
                os.path.join(folder, "model.onnx"),
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )


def open_onnx(folder: str) -> Logits:
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    path = os.path.join(folder, "model.onnx")
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda ids: torch.from_numpy(session.run(None, {"input_ids": ids.numpy()})[0])


FORMATS = {
    "hf": Format("model.safetensors", write_hf, open_hf, 1e-4, 0.99),
    "onnx": Format("model.onnx", write_onnx, open_onnx, 1e-4, 0.99),
    "onnx-int8": Format("model.onnx", write_onnx_int8, open_onnx, 0.2, 0.95),
}
