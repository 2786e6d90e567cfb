"""Runs of students and teachers with two token types, from a BERT classifier of pairs."""

import re

import hf_models
import inprocess
import pytest
import refusals
import torch
import toy
from classifiers import logits_of
from encode_files import encode_table
from ranks import as_one_and_as_two
from same_end import assert_same_end

from mixkd_plugin.tools import scoring
from mixkd_plugin.tools.batches import in_order, make_batches
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

TYPES = "encoder.sentence_encoder.embed_tokens.types.weight"
PAIRS = [*hf_models.PAIRS, *((b, a) for a, b in hf_models.PAIRS)] * 2
GOLD = [i * i % 3 for i in range(len(PAIRS))]  # 0 and 1
ARCH = ["--arch", "mixkd_roberta", "--encoder-layers", 2, "--encoder-embed-dim", 24,
        "--encoder-ffn-embed-dim", 40, "--encoder-attention-heads", 4, "--max-positions", 80,
        "--batch-size", 8]  # fmt: skip
DISTIL = ["--kd-weight", 1, "--tmkd-weight", 1, "--teacher-path"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, transformers):
    """A BERT's import with two types, and with one; its logits of data of pairs."""
    folder = tmp_path_factory.mktemp("types")
    hf_models.make("bert", folder / "hf", transformers)
    torch.save(logits_of(folder / "hf", PAIRS, transformers), folder / "logits.pt")
    import_encoder(str(folder / "hf"), str(folder / "two"))
    import_encoder(str(folder / "hf"), str(folder / "one"), one_token_type=True)
    rows = [(*pair, label) for pair, label in zip(PAIRS, GOLD)]
    spelt = [("the [SEP] soup", "x", 0), *rows]
    for name, lines in (("data", rows), ("spelt", spelt)):
        tokenizer = f"hf:{folder / 'two'}"
        encode_table(folder / "t.tsv", lines, tokenizer, folder / name, max_tokens=80)
    return folder


def flags(folder, out, *extra, data="data"):
    return toy.train_flags(folder / data, out, *ARCH, *extra)


def begin_from(folder, name):
    return ["--student-init-path", folder / name / "model.pt"]


def teacher(folder, name="two"):
    return [*DISTIL, folder / name / "model.pt"]


def trained(out):
    state = inprocess.checkpoint(out)
    return state["cfg"]["model"].token_types, state["model"].get(TYPES)


def test_the_imported_classifier_has_transformers_logits_on_data_of_pairs(folder):
    loaded = scoring.load(str(folder / "two" / "model.pt"), str(folder / "data"))
    batches = make_batches(loaded.task, "valid", 5)
    found = in_order([loaded.logits(batch) for batch in batches], batches)
    assert (found - torch.load(folder / "logits.pt")).abs().max() < 1e-5


def test_a_run_and_its_resumption(tmp_path, folder):
    """The teacher says what transformers says; resumed, the student is the same to the last bit."""
    more = [*teacher(folder), *begin_from(folder, "two"), "--max-epoch", 3]
    more += ["--teacher-cache", tmp_path / "cache", "--save-interval-updates", 2]
    log = inprocess.run_training(flags(folder, tmp_path / "whole", *more))
    assert "token types: 2" in log and "two token types" in log
    classes = torch.load(folder / "logits.pt").argmax(dim=1).tolist()
    accuracy = 100 * sum(a == b for a, b in zip(classes, GOLD)) / len(GOLD)
    found = re.findall(r"valid \| .* teacher_accuracy ([\d.]+)", log)
    assert found and {float(value) for value in found} == {round(accuracy, 1)}
    number, table = trained(tmp_path / "whole")
    began = torch.load(folder / "two" / "model.pt", weights_only=False)["model"][TYPES]
    assert number == 2 and ((table - began).abs().amax(dim=1) > 1e-4).all()
    parts = flags(folder, tmp_path / "parts", *more)
    inprocess.run_until(7, parts)
    log = inprocess.run_training(parts)
    assert "@ 6 updates" in log
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    student = tmp_path / "whole" / "checkpoint_last.pt"
    log = inprocess.validate(*toy.validate_flags(folder / "data", student, "--batch-size", 8))
    assert "accuracy" in log
    refusals.accepts(folder / "data", tmp_path / "next", *ARCH, *begin_from(folder, "two"),
                     *DISTIL, student)  # fmt: skip


def test_a_student_has_the_types_of_its_beginning(tmp_path, folder):
    """And its teacher has its own."""
    one = flags(folder, tmp_path / "one", *teacher(folder), *begin_from(folder, "one"))
    assert "token types: 1" in inprocess.run_training(one)
    assert trained(tmp_path / "one") == (1, None)
    message = refusals.refusal(folder / "data", tmp_path / "one", *ARCH, "--token-types", 2)
    assert message.startswith("--token-types must be 1, with which")
    new = flags(folder, tmp_path / "new", "--finetune-from-model", folder / "two" / "model.pt",
                "--encoder-layers", 3, "--max-update", 1, *refusals.FINE_TUNE)  # fmt: skip
    inprocess.run_training(new)
    assert trained(tmp_path / "new")[0] == 2


def test_two_types_may_begin_as_one(tmp_path, folder):
    """Zeros for both are the same function, which the log says."""
    seen = []

    def stop(trainer, _):
        seen.append(trainer.get_model().state_dict()[TYPES].abs().max().item())
        raise KeyboardInterrupt

    more = ["--token-types", 2, *begin_from(folder, "one"), *teacher(folder)]
    with inprocess.captured_log() as log, pytest.raises(KeyboardInterrupt):
        inprocess.run_training(flags(folder, tmp_path / "s", *more), stop)
    assert seen == [0.0] and "has one token type" in log.text and "token types: 2" in log.text


def test_one_type_does_not_begin_from_two(tmp_path, folder):
    more = ["--token-types", 1, *begin_from(folder, "two"), *teacher(folder)]
    message = refusals.refusal(folder / "data", tmp_path / "s", *ARCH, *more)
    path = folder / "two" / "model.pt"
    assert message == f"--token-types must be 2, as in --student-init-path {path}, got 1"


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_a_separator_inside_of_a_text_is_refused(tmp_path, folder, who):
    """It could not be told from the end of a first text; models of one type do not mind."""
    one, two = [*begin_from(folder, "one")], [*begin_from(folder, "two")]
    one_type, two_types = teacher(folder, "one"), teacher(folder)
    refusals.accepts(folder / "spelt", tmp_path / "s", *ARCH, *one, *one_type)
    more = [*two, *one_type] if who == "student" else [*one, *two_types]
    message = refusals.refusal(folder / "spelt", tmp_path / "s", *ARCH, *more)
    assert "example 0" in message and "</s>" in message and "got 2" in message
    with pytest.raises(ValueError, match="example 0 must have one </s>"):
        scoring.load(str(folder / "two" / "model.pt"), str(folder / "spelt"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pytorch_ddp", "fully_sharded"])
def test_several_processes_end_as_one(tmp_path, folder, backend):
    if backend == "fully_sharded":
        pytest.importorskip("fairscale")
    more = [*ARCH, "--batch-size", 4, *begin_from(folder, "two")]
    path = folder / "two" / "model.pt"
    as_one_and_as_two(folder / "data", tmp_path, path, *more, backend=backend)
