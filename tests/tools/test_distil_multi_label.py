"""`distil` of a teacher of several labels for a text."""

import json

import classifiers
import distilled
import hf_models
import pytest
import sklearn.metrics
import torch

from mixkd_plugin.tools.distil import main

NAMES = ["joy", "very sad", "anger"]
GIVEN = {  # flags of each form of the labels
    "list": [],
    "names": ["--label-separator", ";"],
    "columns": ["--label", "anger,joy,very sad"],
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("form, kind", [*zip(GIVEN, ("bert", "electra", "bert"))])
def test_labels_in_each_form(tmp_path, transformers, trained, form, kind):
    """The scores are those of transformers and scikit-learn; the student is served."""
    case = classifiers.make_multi_label_case(tmp_path / "case", transformers, NAMES, form, kind)
    more = tmp_path / "more.txt"
    more.write_text("the soup was cold\nx\n")
    figures = distilled.distil(
        case, tmp_path / "out", *GIVEN[form], "--unlabelled", more, "--updates", 2
    )
    assert trained == ["trial", "kd-1"] and figures["metric"] == "micro_f1"
    gold = [[name in its for name in NAMES] for its in case.labels]
    predicted = (case.answers > 0).numpy()
    scores = {
        f"{kind}_f1": 100 * sklearn.metrics.f1_score(gold, predicted, average=kind)
        for kind in ("micro", "macro")
    }
    teacher = figures["models"]["teacher, fairseq"]
    assert figures["teacher"] == pytest.approx(scores["micro_f1"], abs=1e-9)
    assert teacher["macro_f1"] == pytest.approx(scores["macro_f1"], abs=1e-9)
    each = sklearn.metrics.f1_score(gold, predicted, average=None)
    assert [figures["f1"][name]["teacher"] for name in NAMES] == pytest.approx(100 * each)
    best = max(run["score"] for run in figures["runs"])
    assert figures["student"] == pytest.approx(best, abs=0.051)
    out = tmp_path / "out"
    config = json.loads((out / "config.json").read_text())
    assert [*config["id2label"].values()] == NAMES
    assert config["problem_type"] == "multi_label_classification"
    flags = (out / "work" / "data" / "train_flags.txt").read_text()
    assert "--multi-label" in flags and "--unlabelled-examples allow" in flags
    lines = (out / "work" / "data" / "label" / "train.label").read_text().splitlines()
    assert lines[-1] == "nan nan nan" and len(lines) == 62
    pipe = distilled.served_equals_fairseq(out, transformers, [("the soup was cold",), ("x",)])
    scores = {one["label"]: one["score"] for one in pipe("the soup was cold", top_k=None)}
    again = {one["label"]: one["score"] for one in pipe(
        "the soup was cold", top_k=None, function_to_apply="none")}  # fmt: skip
    for name in NAMES:  # a sigmoid for each
        assert scores[name] == pytest.approx(torch.tensor(again[name]).sigmoid().item(), abs=1e-6)
    text = (out / "README.md").read_text()
    assert "micro F1" in text and "macro F1" in text and "above 0.5" in text


def test_an_encoder_is_fine_tuned_first(tmp_path, transformers, trained):
    case = classifiers.make_multi_label_case(tmp_path / "case", transformers, NAMES, "names")
    rows = case.train.read_text().replace(";", "|")
    case.train.write_text(rows)
    words = ["--encoder", str(case.teacher), "--train", str(case.train), "--out",
             str(tmp_path / "out"), *distilled.QUICK, "--teacher-updates", "2", "--multi-label",
             "--allow-weak-teacher"]  # fmt: skip
    main(words)
    assert trained == ["trial", "teacher", "kd-1"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [*config["id2label"].values()] == ["anger", "joy", "very sad"]


def test_refusals(tmp_path, transformers):
    """A weak teacher is one below the best constant answer; one of single classes is refused."""
    case = classifiers.make_multi_label_case(tmp_path / "case", transformers, NAMES)
    words = ["--teacher", str(case.teacher), "--train", str(case.train), "--dev", str(case.dev),
             "--out", str(tmp_path / "out")]  # fmt: skip
    with pytest.raises(SystemExit, match="--label-separator .* --multi-label"):
        main(["--encoder", *words[1:], "--label-separator", ";", "--label", "text"])
    path = case.teacher / "config.json"
    before = path.read_text()
    hf_models.change(path, problem_type="single_label_classification")
    with pytest.raises(SystemExit, match="--teacher must be .* several labels .* got .* one class"):
        main(words)
    assert not (tmp_path / "out").exists()
    path.write_text(before)
    rows = [json.loads(line) for line in case.dev.read_text().splitlines()]
    wrong = [{**row, "labels": rows[(i + 1) % len(rows)]["labels"]} for i, row in enumerate(rows)]
    case.dev.write_text("".join(json.dumps(row) + "\n" for row in wrong))
    counts = [sum(name in row["labels"] for row in rows) for name in NAMES]
    found = [[name in row["labels"] for name in NAMES] for row in wrong]
    best = max(
        sklearn.metrics.f1_score(
            found, [[c >= least for c in counts]] * len(rows), average="micro", zero_division=0
        )
        for least in counts
    )
    with pytest.raises(SystemExit, match=f"micro_f1 of at least {100 * best + 5:.1f}"):
        main(words)
