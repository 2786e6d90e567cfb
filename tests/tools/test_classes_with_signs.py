"""A classifier whose classes have blanks beside punctuation, and data with the same names."""

import csv
import json
import re
import shlex

import classifiers
import pytest
import toy
from distilled import flags
from encode_files import write
from refusals import KD, error_of, refusal
from slow_cases import slow

from mixkd_plugin.names import class_name, join_names
from mixkd_plugin.tools.compare import main as compare
from mixkd_plugin.tools.distil.data import read_data
from mixkd_plugin.tools.distil.source import find_teacher, labels_of
from mixkd_plugin.tools.encode import main as encode
from mixkd_plugin.tools.import_hf import main as import_hf

NAMES = ["so, so", "Science & Tech", "👍 good", "a / b", "Sports (US)"]
WRITTEN = [class_name(name) for name in NAMES]  # the data's own order is another


@pytest.fixture(scope="module")
def case(tmp_path_factory, transformers):
    folder = tmp_path_factory.mktemp("signs") / "case"
    made = classifiers.make_case(folder, transformers, names=NAMES, sizes=(30, 30))
    transformers.AutoTokenizer.from_pretrained(made.teacher).save_pretrained(made.teacher)
    return made


def accuracy(case):
    right = sum(NAMES[its] == said for its, said in zip(case.answers, case.labels))
    return 100 * right / len(case.labels)


def test_distil_matches_them(case):
    args = flags(teacher=str(case.teacher), train=str(case.train), dev=str(case.dev))
    source = find_teacher(args)
    data = read_data(args, False, outputs=source.names)
    assert labels_of(source, data, None).order == WRITTEN


def test_import_matches_them(tmp_path, case):
    import_hf([str(case.teacher), "--out", str(tmp_path / "t"), "--dev", str(case.dev)])
    assert (tmp_path / "t" / "label" / "dict.txt").read_text().split()[::2] == WRITTEN


def test_given_labels_are_compared_where_the_data_lack_classes(tmp_path, case):
    with open(case.dev, encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    table = write(tmp_path / "dev.csv", columns, [row for row in rows if row[1] in NAMES[:2]])
    words = [case.teacher, "--out", tmp_path / "t", "--dev", table]
    swapped = join_names([NAMES[1], NAMES[0], *NAMES[2:]])
    said = error_of(import_hf, *words, "--labels", swapped)
    assert "--labels must" in said and f"say {join_names([*WRITTEN[:2], *'???'])};" in said
    import_hf([*map(str, words), "--labels", join_names(NAMES)])


@pytest.mark.parametrize("kind", ["folder", *slow("import")])
def test_compare_and_training_take_them(tmp_path, case, caplog, kind):
    folder, path = case.teacher, f"hf:{case.teacher}"
    if kind == "import":
        folder, path = tmp_path / "t", tmp_path / "t" / "model.pt"
        import_hf([str(case.teacher), "--out", str(folder)])
    data = tmp_path / "data"
    encode(["--train", str(case.train), "--valid", str(case.dev), "--text", "sentence", "--label",
            "label", "--tokenizer", f"hf:{folder}", "--out", str(data)])  # fmt: skip
    words = [data, f"teacher={path}", "--out", tmp_path / "out", "--rounds", 1, "--force"]
    for more in ([], ["--labels", join_names(NAMES)]):
        compare([*map(str, words), *more])
        rows = json.loads((tmp_path / "out" / "compare.json").read_text())["models"]
        assert rows["teacher"]["accuracy"] == pytest.approx(accuracy(case), abs=1e-9)
    for flag in re.findall(r"\(fairseq-train: (.*)\)$", caplog.text, re.MULTILINE):
        assert shlex.split(flag) == [f"--teacher-labels={join_names(WRITTEN)}"]
    teacher = [*KD, "--teacher-path", path, "--num-classes", len(NAMES), "--max-epoch", 1]
    said = refusal(data, tmp_path / "s", *teacher)
    assert "its labels differ" in said and said.count("Science_&_Tech") == 2
    said = refusal(data, tmp_path / "s", *teacher, "--teacher-labels", "a / b,x y")
    assert "--teacher-labels must be" in said and "got a_/_b,x_y" in said
    log = toy.fit(data, tmp_path / "s", *teacher, "--teacher-labels", join_names(NAMES))
    found = toy.last_values(log, "valid")["teacher_accuracy"]
    assert found == pytest.approx(accuracy(case), abs=0.06)
