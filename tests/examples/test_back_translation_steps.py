"""The steps of back-translation that need no model: parsing, choosing, refusing."""

import subprocess
import sys

import back_translate
import inprocess
import pytest
import toy
import translation
from back_translated import COMMON, RARE, glue_of_pairs, glue_of_sentences
from encode_files import encode_glue, write_model
from fairseq import tasks


def printed(*outputs):
    """As fairseq-interactive prints (id, text), with all that stands around it."""
    return [
        line
        for number, text in outputs
        for line in (f"S-{number}\tD-0\t0\tx", f"H-{number}\t-0.5\t{text}@@",
                     f"D-{number}\t-0.5\t{text}", f"P-{number}\t-0.1 -0.2")
    ]  # fmt: skip


def test_outputs_are_sorted_by_text():
    said = ["INFO | D-7 is no output", *printed((2, "c"), (0, "a  \u2028b"), (1, ""))]
    assert translation.parse(said, 3, "--forward", "f") == ["a b", "", "c"]


@pytest.mark.parametrize(
    "outputs, message",
    [
        ([(0, "a")], "--forward must .* got 1 of 2 texts, 0 of text 2"),
        ([(0, "a"), (0, "b"), (1, "c")], "got 3 of 2 texts, 2 of text 1"),
        ([(0, "a"), (1, "b"), (2, "c")], "got 3 of 2 texts, 1 of text 3"),
    ],
)
def test_a_count_that_does_not_fit(outputs, message):
    with pytest.raises(ValueError, match=message):
        translation.parse(printed(*outputs), 2, "--forward", "f")


def test_the_part_is_that_of_the_task(tmp_path):
    glue, data = glue_of_pairs(tmp_path / "RTE"), tmp_path / "data"
    flags = encode_glue(glue, "RTE", write_model(tmp_path, [*COMMON, *RARE]), data).split()
    task = back_translate.TASKS["RTE"]
    table = back_translate.read_table(str(glue / "train.tsv"), task.columns)
    for fraction, seed in ((0.3, 1), (0.3, 5), (1.0, 1)):
        config = inprocess.training_config(
            toy.train_flags(
                data, "unused", *flags, "--train-fraction", fraction, "--train-fraction-seed", seed
            )
        )
        dataset = tasks.setup_task(config.task).load_dataset("train", combine=False)
        wanted = [dataset[i]["id"] for i in range(len(dataset))]
        chosen = back_translate.choose(table, task, fraction, seed)
        assert [int(fields[0]) for fields in chosen] == wanted


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task_name": "sst2"}, "--task must be one of CoLA, MNLI"),
        ({"labels": "silver"}, "--labels must be one of gold, none, got 'silver'"),
        ({"fraction": 0.0}, r"--fraction must be in \(0, 1\], got 0.0"),
        ({"forward": "data --path none.pt"}, "--forward: --path none.pt does not exist"),
        ({"backward": "data --path none.pt:b"}, "--backward: --path none.pt does not exist"),
        ({"backward": "data --beam 5"}, "--backward 'data --beam 5': --path CHECKPOINT is missing"),
        ({"glue": "nowhere"}, "no file nowhere/train.tsv"),
        ({"out": "."}, "--out . is not empty"),
        pytest.param(  # not a checkpoint: fairseq's own message, and where its log is
            {},
            "--forward: fairseq-interactive ended with 1: .*forward-.*log",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_bad_input(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    glue = glue_of_sentences(tmp_path / "SST-2")
    (tmp_path / "model.pt").write_text("x")
    given = {
        "glue": str(glue), "task_name": "SST-2", "out": "out", "forward": "data --path model.pt",
        "backward": "data --path model.pt", **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        back_translate.back_translate(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "labels, message", [("x", "--labels must be .* got 'x'$"), ("gold", ".*out")]
)
def test_the_command_ends_with_one_sentence(tmp_path, labels, message):
    (tmp_path / "out").touch()  # which must be a folder
    flags = ["--glue", "g", "--task", "RTE", "--out", str(tmp_path / "out"), "--labels", labels]
    with pytest.raises(SystemExit, match=f"^back_translate: {message}"):
        back_translate.main([*flags, "--forward", "a", "--backward", "b"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["back_translation/back_translate.py", "another_vocabulary/predict.py"]
)
def test_a_script_says_nothing_before_its_own_words(name):
    script = [sys.executable, str(toy.ROOT / "examples" / name)]
    done = subprocess.run(script, stderr=subprocess.PIPE, text=True)
    assert done.returncode and done.stderr.startswith(("usage: back_translate", "Traceback"))
