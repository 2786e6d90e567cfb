"""The export formats: each is written to a folder, and opened from it.

torch is imported where it is used: the help of commands names the formats.

An opened export is a function from token ids (B, T), padded, and their types (B, T), which only
students of two token types read, to logits (B, C).
"""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ...errors import in_short
from ...interop import library, quiet
from ...tokenizers.library import read_json_if_there

if TYPE_CHECKING:
    from torch import Tensor

    from .model import Served

Logits = Callable[["Tensor", "Tensor"], "Tensor"]
TYPED_INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class Format(NamedTuple):
    """
    file: name of the file with the weights
    write: writes a student to a folder
    tolerance: largest difference of logits; of a regression as a share: in int8 of their range,
        else of the largest one if that is above 1
    agreement: least share of texts of the same class
    """

    file: str
    write: Callable[[Served, str], None]
    open: Callable[[str], Logits]
    tolerance: float
    agreement: float

    @property
    def files(self) -> tuple[str, str]:
        """All with weights: a large ONNX model has most of them in a second file."""
        return self.file, f"{self.file}.data"

    def megabytes(self, folder: str) -> float:
        paths = (os.path.join(folder, name) for name in self.files)
        return sum(os.path.getsize(path) for path in paths if os.path.exists(path)) / 1e6


def write_hf(served: Served, folder: str) -> None:
    import torch

    from .model import to_distilbert, wrong_head

    model, activation = served.model, getattr(served.head, "activation_fn", torch.tanh)
    if activation is not torch.tanh:
        its = model.config
        reason = wrong_head(activation.__name__, its.layer_norm_eps, its.type_vocab_size)
        if reason:
            raise ValueError(f"{reason}: another --to can have it")
        model = to_distilbert(served)
    with quiet():
        model.save_pretrained(folder)


def open_hf(folder: str) -> Logits:
    auto = library("transformers").AutoModelForSequenceClassification
    with quiet():
        model = auto.from_pretrained(folder, local_files_only=True).eval()
    return lambda ids, types: model(**_inputs(model.config, ids, types)).logits


def _inputs(config: Any, ids: Tensor, types: Tensor) -> dict[str, Tensor]:
    values = (ids, ids.ne(config.pad_token_id).long(), types)
    return dict(zip(TYPED_INPUTS[: 2 + (getattr(config, "type_vocab_size", 1) > 1)], values))


def write_onnx(served: Served, folder: str) -> None:
    import torch

    from .model import FirstTokenModel, TypedFirstTokenModel

    onnx, _ = library("onnx"), library("onnxscript")
    config = served.model.config
    config.save_pretrained(folder)
    start, end, padding = config.bos_token_id, config.eos_token_id, config.pad_token_id
    ids = torch.tensor([[start, end, end], [start, end, padding]])
    wrapped, inputs = FirstTokenModel(served), {"input_ids": ids}
    if config.type_vocab_size > 1:
        wrapped = TypedFirstTokenModel(served)
        inputs = _inputs(config, ids, torch.tensor([[0, 0, 1], [0, 0, 0]]))
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    path = os.path.join(folder, "model.onnx")
    with quiet():
        torch.onnx.export(
            wrapped,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={name: sizes for name in inputs},
            dynamo=True,
            external_data=False,  # one file, but for weights of more than 1.5 GiB
        )
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    if not all(size.dim_param for size in shape.dim):
        raise ValueError(
            f"--to onnx needs a newer torch, got {torch.__version__}, whose exporter allows only "
            "texts of one length"
        )


def write_onnx_int8(served: Served, folder: str) -> None:
    """Weights in int8, one scale for each channel; activations are quantised as they come."""
    quantization = library("onnxruntime.quantization")
    served.model.config.save_pretrained(folder)
    with tempfile.TemporaryDirectory() as work:
        write_onnx(served, work)
        with quiet():
            quantization.quantize_dynamic(
                os.path.join(work, "model.onnx"),
                os.path.join(folder, "model.onnx"),
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )


def onnx_session(path: str) -> Any:
    """onnxruntime's session on the CPU, with as many threads as torch."""
    import torch

    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own classes, for a damaged file
        raise ValueError(f"onnxruntime cannot read {path}: {in_short(error)}") from error


def open_onnx(folder: str) -> Logits:
    import torch

    session = onnx_session(os.path.join(folder, "model.onnx"))
    config = Namespace(**read_json_if_there(os.path.join(folder, "config.json")))
    names = {node.name for node in session.get_inputs()}

    def logits(ids: Tensor, types: Tensor) -> Tensor:
        inputs = _inputs(config, ids, types).items()
        found = session.run(None, {name: v.numpy() for name, v in inputs if name in names})
        return torch.from_numpy(found[0])

    return logits


FORMATS = {
    "hf": Format("model.safetensors", write_hf, open_hf, 1e-4, 0.99),
    "onnx": Format("model.onnx", write_onnx, open_onnx, 1e-4, 0.99),
    "onnx-int8": Format("model.onnx", write_onnx_int8, open_onnx, 0.2, 0.95),
}
