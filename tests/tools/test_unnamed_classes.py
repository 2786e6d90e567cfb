"""A classifier with LABEL_0 and LABEL_1, and texts with neg and pos: whose output is whose."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import classifiers
import hf_models
import pytest
import toy
from refusals import KD, error_of, refusal

from mixkd_plugin.tools.compare import main as compare
from mixkd_plugin.tools.encode import main as encode
from mixkd_plugin.tools.import_hf import main as import_hf

SAID = ["pos", "neg"]  # what the classifier means by its outputs; data are sorted


class Made(NamedTuple):
    case: classifiers.Case
    teacher: str  # its import, without names
    data: Path  # for the import
    folder: Path  # data for hf:FOLDER
    accuracy: float  # of the classifier, by transformers


@pytest.fixture(scope="module")
def made(tmp_path_factory, transformers):
    root = tmp_path_factory.mktemp("unnamed")
    case = classifiers.make_case(root / "case", transformers, said=SAID, sizes=(10, 30))
    import_hf([str(case.teacher), "--out", str(root / "teacher")])
    transformers.AutoTokenizer.from_pretrained(case.teacher).save_pretrained(case.teacher)
    for name, folder in (("data", root / "teacher"), ("folder", case.teacher)):
        encode(["--train", str(case.train), "--valid", str(case.dev), "--text", "sentence",
                "--label", "label", "--tokenizer", f"hf:{folder}", "--out",
                str(root / name)])  # fmt: skip
    right = sum(SAID[its] == said for its, said in zip(case.answers, case.labels))
    accuracy = 100 * right / len(case.labels)
    assert 75 < accuracy < 95
    return Made(case, str(root / "teacher" / "model.pt"), root / "data", root / "folder", accuracy)


@pytest.fixture(params=["import", "folder"])
def taught(request, made):
    """Path and data of a teacher."""
    of_folder = f"hf:{made.case.teacher}", made.folder
    return (made.teacher, made.data) if request.param == "import" else of_folder


def vague(made, path):
    """A table that has each text with both labels."""
    head, *rows = made.case.dev.read_text().splitlines()
    texts = [row.rpartition(",")[0] for row in rows]
    path.write_text("\n".join([head, *(f"{text},{said}" for text in texts for said in SAID)]))
    return path


def names_all(message, flag):
    return all(word in message for word in (flag, "neg", "pos", *"01"))


def test_an_import_gets_the_names_of_a_table(tmp_path, made, transformers, capsys):
    dev = tmp_path / "dev.csv"  # with a text without a label, and one without a field
    dev.write_text(f"{made.case.dev.read_text().rstrip()}\nthe soup,\ncold\n")
    import_hf([str(made.case.teacher), "--out", str(tmp_path / "t"), "--dev", str(dev)])
    printed = capsys.readouterr().out
    assert f"2 lines of {dev} without a label or a field are left out" in printed
    assert "LABEL_0 is pos, LABEL_1 is neg" in printed and "predicted" in printed
    assert printed.splitlines()[-1].endswith(f"--tokenizer hf:{tmp_path / 't'} --labels=pos,neg")
    written = (tmp_path / "t" / "label" / "dict.txt").read_text().split()
    assert written[::2] == SAID


def test_a_classifier_in_bfloat16(tmp_path, made, transformers, capsys):
    shutil.copytree(made.case.teacher, tmp_path / "half")
    auto = transformers.AutoModelForSequenceClassification
    auto.from_pretrained(tmp_path / "half").bfloat16().save_pretrained(tmp_path / "half")
    import_hf([str(tmp_path / "half"), "--out", str(tmp_path / "t"), "--dev", str(made.case.dev)])
    assert "LABEL_0 is pos, LABEL_1 is neg" in capsys.readouterr().out


def test_an_import_that_is_not_clear(tmp_path, made, transformers):
    dev = vague(made, tmp_path / "vague.csv")
    out = tmp_path / "t"
    message = error_of(import_hf, made.case.teacher, "--out", out, "--dev", dev)
    assert names_all(message, "--labels") and not out.exists()
    import_hf([str(made.case.teacher), "--out", str(out), "--dev", str(dev), "--labels=pos,neg"])
    words = [made.case.teacher, "--out", tmp_path / "other", "--text", "sentence"]
    message = error_of(import_hf, *words)
    assert "--text" in message and "--dev" in message


def test_an_import_whose_labels_the_predictions_contradict(tmp_path, made, transformers):
    words = [made.case.teacher, "--out", tmp_path / "t", "--labels=neg,pos"]
    message = error_of(import_hf, *words, "--dev", made.case.dev)
    assert message.count("--labels") == 2 and "got neg,pos" in message and "say pos,neg" in message
    assert not (tmp_path / "t").exists()
    import_hf([str(word) for word in words])  # as given


def test_compare_finds_and_shows_the_order(tmp_path, made, taught, transformers, caplog):
    path, data = taught
    words = [data, f"teacher={path}", "--out", tmp_path / "out", "--rounds", 1]
    compare([str(word) for word in words])
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["models"]
    assert rows["teacher"]["accuracy"] == pytest.approx(made.accuracy, abs=1e-9)
    for shown in ("0 is pos", "1 is neg", "--teacher-labels=pos,neg"):
        assert shown in caplog.text
    compare([str(word) for word in words] + ["--force", "--labels", "neg,pos"])
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["models"]
    assert rows["teacher"]["accuracy"] == pytest.approx(100 - made.accuracy, abs=1e-9)


def test_compare_asks_a_folder_whose_names_are_not_the_numbers_of_the_data(
    tmp_path, made, transformers, caplog
):
    shutil.copytree(made.case.teacher, tmp_path / "hf")
    hf_models.change(tmp_path / "hf" / "config.json", id2label={"0": "POSITIVE", "1": "NEGATIVE"})
    table = tmp_path / "dev.csv"
    rows = made.case.dev.read_text().replace(",pos\n", ",1\n").replace(",neg\n", ",0\n")
    table.write_text(rows)
    encode(["--train", str(table), "--valid", str(table), "--text", "sentence", "--label", "label",
            "--tokenizer", f"hf:{made.case.teacher}", "--out", str(tmp_path / "data")])  # fmt: skip
    words = [tmp_path / "data", f"t=hf:{tmp_path / 'hf'}", "--rounds", 1, "--out", tmp_path / "out"]
    for given, wanted in (([], made.accuracy), (["--labels", "0,1"], 100 - made.accuracy)):
        compare([str(word) for word in [*words, *given, "--force"]])
        rows = json.loads((tmp_path / "out" / "compare.json").read_text())["models"]
        assert rows["t"]["accuracy"] == pytest.approx(wanted, abs=1e-9)
    assert "POSITIVE is 1, NEGATIVE is 0" in caplog.text


def test_compare_takes_names_in_another_order(tmp_path, made, transformers, caplog):
    import_hf([str(made.case.teacher), "--out", str(tmp_path / "t"), "--labels=pos,neg"])
    words = [made.data, f"t={tmp_path / 't' / 'model.pt'}", "--out", tmp_path / "out"]
    compare([str(word) for word in words] + ["--rounds", "1"])
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["models"]
    assert rows["t"]["accuracy"] == pytest.approx(made.accuracy, abs=1e-9)
    assert "pos, neg" in caplog.text


def test_compare_stops_where_the_order_is_not_clear(tmp_path, made, transformers):
    dev, folder = vague(made, tmp_path / "vague.csv"), tmp_path / "data"
    encode(["--train", str(dev), "--valid", str(dev), "--text", "sentence", "--label", "label",
            "--tokenizer", f"hf:{Path(made.teacher).parent}", "--out", str(folder)])  # fmt: skip
    words = [folder, f"teacher={made.teacher}", "--out", tmp_path / "out", "--rounds", 1]
    message = error_of(compare, *words)
    assert made.teacher in message and names_all(message, "--labels")


def test_training_stops_until_the_order_is_given(tmp_path, made, taught, transformers):
    path, data = taught
    flags = [*KD, "--teacher-path", path, "--max-epoch", 1]
    message = refusal(data, tmp_path / "s", *flags)
    assert f"--teacher-path {path}" in message and names_all(message, "--teacher-labels")
    for order, wanted in (("pos,neg", made.accuracy), ("neg,pos", 100 - made.accuracy)):
        cached = ["--teacher-labels", order, "--teacher-cache", tmp_path / "cache"]
        save = tmp_path / order.replace(",", "")
        log = toy.fit(data, save, *flags, *cached)
        found = toy.last_values(log, "valid")["teacher_accuracy"]
        assert found == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("given", ["pos", "pos,good", "pos,pos", "pos,neg,neutral"])
def test_labels_that_are_not_the_datas(tmp_path, made, given):
    message = refusal(
        made.data, tmp_path, *KD, "--teacher-path", made.teacher, "--teacher-labels", given
    )
    assert "--teacher-labels must be the data's classes (neg,pos)" in message and given in message


def test_a_flag_without_a_teacher_or_classes(tmp_path, made, regression, regression_teacher):
    message = refusal(made.data, tmp_path, "--tmkd-weight", 0, "--teacher-labels", "pos,neg")
    assert "--teacher-labels pos,neg needs --teacher-path" in message
    flags = ["--regression-target", "--num-classes", 1, "--teacher-path", regression_teacher]
    message = refusal(regression, tmp_path, *KD, *flags, "--teacher-labels", "pos,neg")
    assert "--teacher-labels must be absent for a regression" in message


def test_a_teacher_with_the_datas_names_keeps_its_order(tmp_path, made, transformers):
    """Where the flag says otherwise, one of the two is wrong."""
    named = tmp_path / "named"
    import_hf([str(made.case.teacher), "--out", str(named), "--labels=pos,neg"])
    flags = [*KD, "--teacher-path", named / "model.pt", "--teacher-labels"]
    message = refusal(made.data, tmp_path / "s", *flags, "neg,pos")
    assert "its labels differ" in message
    log = toy.fit(made.data, tmp_path / "s", *flags, "pos,neg", "--max-epoch", 1)
    found = toy.last_values(log, "valid")["teacher_accuracy"]
    assert found == pytest.approx(made.accuracy, abs=0.06)
