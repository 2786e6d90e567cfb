"""Checkpoints as older fairseq saved them teach, begin a student, and are read by tools.

Each layout is made of today's file by what fairseq's own upgrading of it undoes.
"""

import re

import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils
from refusals import FINE_TUNE, KD, accepts, refusal
from slow_cases import slow
from taught import flat, names_of_2019, published
from toy import HEAD

from mixkd_plugin.tools import scoring
from mixkd_plugin.tools.batches import make_batches


def names_of_2018(weights):
    """Before RoBERTa's release, layers had a list of norms."""
    norms = {"self_attn_layer_norm": "layer_norms.0", "final_layer_norm": "layer_norms.1"}
    old = names_of_2019(weights)
    for name in list(old):
        for new, former in norms.items():
            if f".{new}." in name:
                old[name.replace(new, former)] = old.pop(name)
    return old


def names_of_0_12_2(weights):
    """A layer's weights twice; the second copies are of when it was loaded, and do not compute."""
    old = dict(weights)
    for name, weight in weights.items():
        if ".layers." in name and re.search("out_proj|fc[12]", name):
            old[re.sub(r"(self_attn\.)?(\w+)\.(weight|bias)$", r"\2_\3", name)] = weight + 1
        elif ".q_proj." in name:
            copy = torch.cat([weights[name.replace(".q_", f".{x}_")] for x in "qkv"]) + 1
            old[name.replace("self_attn.q_proj.", "in_proj_")] = copy
    return old


def layouts(state):
    """What was saved, by the layout's name."""
    weights = state["model"]
    args = {**state, "args": flat(state), "cfg": None}
    return {
        "2018": published(state, names_of_2018(weights)),
        "2019": published(state, names_of_2019(weights)),
        "0.9": {**args, "model": names_of_2019(weights)},
        "0.10": {k: v for k, v in args.items() if k not in ("cfg", "task_state")},
        "0.12.2": {**state, "model": names_of_0_12_2(weights)},
    }


@pytest.fixture(scope="module", params=["2019", "0.12.2", *slow("2018", "0.9", "0.10")])
def old(request, tmp_path_factory, teacher):
    saved = layouts(torch.load(teacher))[request.param]
    path = tmp_path_factory.mktemp("old") / "model.pt"
    zipped = not request.param.startswith("20")  # torch's format of before 1.6
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    return path


def test_fairseqs_own_upgrade_makes_todays_names_of_them(teacher):
    state = torch.load(teacher)
    (model,), _ = checkpoint_utils.load_model_ensemble([str(teacher)])
    for names in (names_of_2018, names_of_2019):
        weights = names(state["model"])
        assert weights.keys() != state["model"].keys()
        model.upgrade_state_dict(weights)
        torch.testing.assert_close(weights, state["model"], rtol=0, atol=0)


def test_the_logits_are_the_same(classification, teacher, old):
    now, then = (scoring.load(str(path), str(classification)) for path in (teacher, old))
    batch = make_batches(now.task, "valid", 8)[0]
    assert torch.equal(now.logits(batch), then.logits(batch))


def test_one_teaches(tmp_path, classification, old):
    accepts(classification, tmp_path, *KD, "--teacher-path", old)


def test_a_student_begins_the_same(tmp_path, classification, teacher, old):
    begun = []
    for path in (teacher, old):
        folder = tmp_path / str(len(begun))
        flags = [*FINE_TUNE, "--student-init-path", path, "--max-update", 1, "--lr", 0.0]
        toy.fit(classification, folder, *flags)
        begun.append(inprocess.checkpoint(folder)["model"])
    torch.testing.assert_close(*begun, rtol=0, atol=0)


@pytest.mark.parametrize("names", [names_of_2019, *slow(names_of_0_12_2, dict)])
def test_a_pretrained_one_begins_a_student_and_is_no_teacher(
    tmp_path, classification, teacher, names
):
    """As published: of masked words, without a classification head."""
    state = torch.load(teacher)
    weights = {k: w for k, w in names(state["model"]).items() if "classification" not in k}
    torch.save(published(state, weights, task="masked_lm"), tmp_path / "model.pt")
    path = tmp_path / "model.pt"
    accepts(classification, tmp_path / "s", *FINE_TUNE, "--student-init-path", path)
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", path)
    assert f"--teacher-path {path}" in message and HEAD in message
