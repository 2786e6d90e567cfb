"""A checkpoint's settings choose nothing that runs: every model and task of fairseq is tried."""

import argparse
import inspect
from pathlib import Path

import pytest
import torch
import toy
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from refusals import KD, error_of, one_sentence, refusal
from taught import with_settings
from tiny_models import build as student
from toy import HEAD

from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.models.student_init import initialise_student
from mixkd_plugin.teacher import ensemble
from mixkd_plugin.tools import compare, scoring, serving_report
from mixkd_plugin.tools import export as export_tool
from mixkd_plugin.tools.batches import make_batches
from mixkd_plugin.tools.export import export

# What fairseq evaluates somewhere, besides what is text in any way.
EVALUATED = (
    *("encoder_layers", "decoder_layers", "encoder_attention", "decoder_attention"),
    *("self_attention", "project_input", "gated_attention", "downsample"),
    *("pretrained", "character_filters", "adaptive_softmax_cutoff", "adaptive_input_cutoff"),
    *("conv_feature_layers", "conv_aggregator_layers", "left_pad_source", "left_pad_target"),
    *("xformers_att_config", "encoder_xformers_att_config", "wer_args", "lang_dict"),
    *("langs", "feature_encoder_spec", "arch_args", "user_dir"),
    *("encoder_kernel_size_list", "encoder_layers_to_keep", "latent_temp", "teacher_path"),
    *("activation_fn", "data", "init_token", "num_classes"),
)


def hostile(path, source, marker, section, **names):
    """A checkpoint with code in the settings of a section, as ``cfg`` or as ``args``."""
    code = f"__import__('os').mkdir({str(marker)!r})"
    with toy.edited(source, path) as state:
        state["last_optimizer_state"] = None
        settings = {**dict.fromkeys(EVALUATED, code), **names}
        if "_name" in names:
            cfg = state["cfg"]
            if section == "model":
                cfg["model"] = argparse.Namespace(**{**vars(cfg["model"]), **settings})
            else:
                cfg["task"] = {**cfg["task"], **settings, "data": cfg["task"]["data"]}
        else:
            flat = {**vars(state["cfg"]["model"]), **state["cfg"]["task"], **settings}
            state["args"], state["cfg"] = argparse.Namespace(**flat), None
    return str(path)


def readers(path, data, task):
    """Every way by which a checkpoint becomes a model."""
    reads = ensemble.TeacherInput(str(data), task.source_dictionary, 0, None)
    expected = ensemble.TeacherRequirements(reads, task.label_dictionary, HEAD, 2, 8)
    yield lambda: ensemble._build(ensemble._read(path, expected), expected)
    yield lambda: scoring.load(path, str(data))
    yield lambda: export.load(path, None)
    yield lambda: export.load(path, str(data))
    yield lambda: initialise_student(student(MixKDRobertaModel, 1), path, "first")


def evaluates(component):
    return "eval(" in Path(inspect.getfile(component)).read_text().replace(".eval(", "")


@pytest.mark.parametrize("section", ["model", "task"])
@pytest.mark.parametrize(
    "kind, every",
    [("cfg", False), ("args", False), pytest.param("cfg", True, marks=pytest.mark.slow)],
)
def test_no_model_and_no_task_evaluates_anything(
    tmp_path, classification, teacher, words, section, kind, every
):
    registry = {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY} if section == "model" else TASK_REGISTRY
    marker = tmp_path / "was_run"
    classes = {}  # of each one name is enough
    for name, component in registry.items():
        if every or evaluates(component) or component is TASK_REGISTRY["multilingual_translation"]:
            classes.setdefault(component, name)
    for name in classes.values():
        key = "_name" if kind == "cfg" else {"model": "arch", "task": "task"}[section]
        path = hostile(tmp_path / "t.pt", teacher, marker, section, **{key: name})
        for call in readers(path, classification, words):
            one_sentence(call)
        assert not marker.exists(), name


MODELS = ["roberta", "roberta_base", "mixkd_roberta", "mixkd_tiny"]


@pytest.mark.slow
def test_which_models_are_built(tmp_path, classification, teacher, words):
    built = []
    for name in {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY}:
        path = with_settings(tmp_path / "t.pt", teacher, "model", _name=name)
        try:
            scoring.load(str(path), str(classification))
        except ValueError:
            continue
        built.append(name)
    assert set(MODELS) <= set(built)
    kinds = {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY}
    theirs = {kinds[n].__name__ for n in built if kinds[n].__module__.startswith("fairseq.")}
    assert theirs == {"RobertaModel"}


@pytest.mark.parametrize(
    "section, settings",
    [
        ("model", dict(encoder_layers=100_000)),
        ("model", dict(encoder_layers="[(512, 3)] * 20")),
        ("model", dict(encoder_layers=True)),
        ("model", dict(encoder_ffn_embed_dim=20_000_000)),
        ("model", dict(encoder_embed_dim=10**9)),
        ("model", dict(max_positions=10**9)),
        ("model", dict(encoder_attention_heads=0)),
        ("model", dict(encoder_attention_heads=5)),
        ("model", dict(encoder_attention_heads=-4)),
        ("model", dict(encoder_attention_heads=4.0)),
        ("model", dict(activation_fn="__import__")),
        ("model", dict(activation_fn=["gelu"])),
        ("model", dict(pooler_activation_fn="${oc.env:HOME}")),
        ("model", dict(encoder_normalize_before="yes")),
        ("model", dict(layernorm_embedding=False)),
        ("model", dict(encoder_learned_pos=False)),
        ("model", dict(_name=["roberta"])),
        ("task", dict(num_classes=3)),
        ("task", dict(num_classes="${oc.env:HOME}")),
        ("task", dict(init_token="0")),
        ("task", dict(max_positions=[])),
        ("task", dict(regression_target="${oc.env:HOME}")),
        ("task", dict(shorten_method="all")),
        ("task", dict(data="a\nb")),
        ("task", dict(classification_head_name=3)),
        ("task", dict(_name={"a": 1})),
    ],
)
def test_settings_that_no_such_model_has(tmp_path, classification, teacher, section, settings):
    path = str(with_settings(tmp_path / "t.pt", teacher, section, **settings))
    one_sentence(lambda: scoring.load(path, str(classification)))


def test_settings_that_do_not_matter_are_not_read(tmp_path, classification, teacher):
    path = with_settings(
        tmp_path / "t.pt", teacher, "model",
        encoder_xformers_att_config="1/0", encoder_layers_to_keep="0,x", dropout="${a}",
        mha_heads_to_keep="1/0", load_checkpoint_heads=True, quant_noise_pq=0.1,
        adaptive_input=True, quant_noise_scalar=0.5,
    )  # fmt: skip
    loaded = scoring.load(str(path), str(classification))
    batch = make_batches(loaded.task, "valid", 8)[0]
    expected = scoring.load(str(teacher), str(classification))
    assert torch.equal(loaded.logits(batch), expected.logits(batch))


def test_by_the_real_commands(tmp_path, classification, teacher, tokenizers):
    marker = tmp_path / "was_run"
    path = hostile(tmp_path / "t.pt", teacher, marker, "model", _name="fconv")
    other = hostile(tmp_path / "o.pt", teacher, marker, "task", _name="multilingual_translation")
    for file in (path, other):
        for flags in ([*KD, "--teacher-path", file],
                      [*KD, "--teacher-path", file, "--teacher-data", classification],
                      [*KD, "--teacher-path", teacher, "--student-init-path", file]):  # fmt: skip
            assert file in refusal(classification, tmp_path / "s", *flags)
        reads, tokenizer = [str(classification), f"a={file}"], ["--tokenizer", "wordpiece:x"]
        for tool, arguments in (
            (compare, [*reads, "--out", "c"]),
            (serving_report, [*reads, *tokenizer, "--out", str(tmp_path / "r")]),
            (export_tool, [file, str(tmp_path / "e"), "--to", "hf",
                           "--tokenizer", tokenizers["wordpiece"]]),
        ):  # fmt: skip
            assert file in error_of(tool.main, *arguments)
    assert not marker.exists()
