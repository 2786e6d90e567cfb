"""The estimate for many GPUs counts as a real model does; its document shows what it prints."""

import subprocess
import sys
from argparse import Namespace

import estimate
from fairseq.models.roberta import RobertaModel, base_architecture
from tiny_models import dictionary_with
from toy import ROOT

FOLDER = ROOT / "examples" / "many_gpus"


def test_parameters_are_those_of_fairseqs_model():
    dictionary = dictionary_with(map(str, range(60)))
    args = Namespace(
        encoder_layers=3, encoder_embed_dim=32, encoder_ffn_embed_dim=128,
        encoder_attention_heads=4, max_positions=40,
    )  # fmt: skip
    base_architecture(args)
    model = RobertaModel.build_model(args, Namespace(source_dictionary=dictionary))
    model.register_classification_head("head", num_classes=3)
    counted = estimate.parameters(3, 32, len(dictionary), 42, classes=3)
    assert counted == sum(p.numel() for p in model.parameters())


def test_the_document_shows_what_the_script_prints():
    command = [sys.executable, FOLDER / "estimate.py", "--tokens", "64"]
    printed = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    assert printed in (FOLDER / "README.md").read_text(encoding="utf-8")
