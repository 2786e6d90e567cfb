"""compare: checkpoints, data and arguments that are refused, each in one sentence."""

import shutil

import pytest
import toy
from refusals import error_of
from taught import of_few_positions
from unlabelled import without

from mixkd_plugin.tools.compare import main
from mixkd_plugin.tools.compare.compare import compare
from mixkd_plugin.tools.evaluation import evaluation
from mixkd_plugin.tools.scoring import load


def test_labels_that_no_checkpoint_takes(classification, regression, teacher, regression_teacher):
    evaluation(str(classification), {"t": str(teacher)}, "t", labels="0,1")  # the data's
    for data, path, given in (
        (classification, teacher, "1,0"),
        (regression, regression_teacher, "a"),
    ):
        with pytest.raises(ValueError, match=f"--labels must be given for .* got {given} where"):
            evaluation(str(data), {"t": str(path)}, "t", labels=given)


def test_labels_in_another_order_are_refused(tmp_path, classification, teacher, distilled):
    """fairseq's preprocessing numbers them by frequency: scores would be the others' way round."""
    data = tmp_path / "data"
    shutil.copytree(classification, data)
    dictionary = data / "label" / "dict.txt"
    lines = dictionary.read_text().splitlines()
    dictionary.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    for path in (teacher, distilled.folder / "checkpoint_last.pt"):
        with pytest.raises(
            ValueError, match=r"on .*data: its labels differ from the data's: .*'0', '1'.*'1', '0'"
        ):
            load(str(path), str(data))


def test_texts_that_a_checkpoint_cannot_take_are_refused(tmp_path, classification, teacher):
    path = str(of_few_positions(tmp_path / "short.pt", teacher, 9))
    message = "--split valid must have .* 9 tokens for short, got .* 14"
    with pytest.raises(ValueError, match=message):
        compare(str(classification), {"short": path}, "short", rounds=1)


def test_bad_arguments(tmp_path, classification, teacher, regression_teacher, capsys):
    def refuse(message, *arguments):
        said = error_of(main, classification, *arguments, "--out", tmp_path / "out")
        assert message in said
        assert not (tmp_path / "out").exists()

    with pytest.raises(SystemExit, match=r"DATA_DIR none: none/input0/dict.txt does not exist"):
        main(["none", f"a={teacher}", "--out", str(tmp_path / "out")])
    for flag in ("--rounds", "--batch-size"):
        with pytest.raises(SystemExit):
            main(["data", "a=b", "--out", "out", flag, "0"])
        assert f"argument {flag}: must be 1 or more, got 0" in capsys.readouterr().err
    refuse("NAME=CHECKPOINT must have a name and a file, once, got 'teacher.pt'", "teacher.pt")
    refuse("once, got 'a=", f"a={teacher}", f"a={teacher}")
    refuse("a NAME without slashes, got a/b", f"a/b={teacher}")
    refuse("--split must be in ", f"a={teacher}", "--split", "dev")
    refuse("--teacher must be one of a, got b", f"a={teacher}", "--teacher", "b")
    refuse("does not exist", f"a={tmp_path}/none.pt")
    refuse(
        "b was trained with --num-classes 1, a with 2", f"a={teacher}", f"b={regression_teacher}"
    )
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    refuse("bad.pt", f"a={tmp_path}/bad.pt")


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_split_with_examples_without_a_label_is_refused(tmp_path, request, kind):
    data = toy.copy_data(request.getfixturevalue(kind), tmp_path / "data")
    if kind == "regression":
        path = data / "label" / "train.label"
        path.write_text("nan\nnan\n" + path.read_text().split("\n", 2)[2])
    else:
        without(data, False, {3, 100})
    teacher = request.getfixturevalue("regression_teacher" if kind == "regression" else "teacher")
    with pytest.raises(ValueError, match="--split train must have a label .* got 2 without"):
        compare(str(data), {"T": str(teacher)}, "T", split="train", rounds=1)


def test_a_checkpoint_without_a_head_is_refused(tmp_path, classification):
    from bert_source import write_source

    from mixkd_plugin.tools.import_hf.import_hf import import_encoder

    import_encoder(str(write_source(tmp_path / "bert")), str(tmp_path / "encoder"))
    data = tmp_path / "data"  # where masked_lm finds its dict.txt, too
    shutil.copytree(classification, data)
    shutil.copy(tmp_path / "encoder" / "dict.txt", data)
    with pytest.raises(ValueError, match="model.pt.* has no classification head"):
        load(str(tmp_path / "encoder" / "model.pt"), str(data))
