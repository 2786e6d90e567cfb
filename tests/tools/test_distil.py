"""The whole of `distil` on small classifiers of transformers, with few updates."""

import json
import signal
import subprocess
import sys
import time

import classifiers
import pytest
import torch
import toy
import yaml
from distilled import QUICK, distil, served_equals_fairseq
from sklearn.metrics import f1_score

from mixkd_plugin.tools.distil import main, steps

pytestmark = pytest.mark.slow


def test_a_classifier_and_a_table_become_a_student(tmp_path, monkeypatch, transformers, trained):
    case = classifiers.make_case(
        tmp_path / "case", transformers, names=["very bad", "good"], said=["Very Bad", "Good"]
    )
    out = tmp_path / "out"
    figures = distil(case, out, "--fine-tuned-too", "--seeds", 2)
    assert trained == ["trial", "kd-1", "ft-1", "kd-2", "ft-2"]
    # the score of the teacher is that of transformers, to the last example
    right = sum(said == ["Very Bad", "Good"][its] for said, its in zip(case.labels, case.answers))
    assert figures["teacher"] == pytest.approx(100 * right / len(case.labels), abs=1e-9)
    assert figures["recipe"] == "kd" and len(figures["runs"]) == 4
    best = max(run["score"] for run in figures["runs"] if run["recipe"] == "kd")
    assert figures["student"] == pytest.approx(best, abs=0.051)  # its log has one decimal
    assert {*figures["recall"]} == {"very bad", "good"}
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "very bad", "1": "good"} and config["num_hidden_layers"] == 2
    cut = json.loads((out / "tokenizer.json").read_text())["truncation"]
    plan = yaml.safe_load((out / "plan.yaml").read_text())
    assert cut["max_length"] == plan["length"] == figures["plan"]["length"]
    served_equals_fairseq(out, transformers, [("the soup was cold",), ("x " * 50,)][:1])
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["last_optimizer_state"] is None
    for name in ("README.md", "report/report.md", "report/report.png", "commands.sh"):
        assert (out / name).stat().st_size > 100
    assert "--distributed-world-size 1 " in (out / "commands.sh").read_text()  # on any machine
    assert not list((out / "work").rglob("checkpoint*.pt"))

    trained.clear()  # the same command again: nothing is trained
    (out / "report" / "report.md").unlink()
    (out / "onnx").mkdir()  # of an earlier student
    with monkeypatch.context() as patch:
        patch.setattr("mixkd_plugin.tools.export.main", lambda _: sys.exit("--min-agreement"))
        with pytest.raises(SystemExit, match="--int8: --min-agreement.*all else in .* is complete"):
            distil(case, out, "--fine-tuned-too", "--seeds", 2, "--int8")
    assert (out / "report" / "report.md").exists() and not (out / "onnx").exists()
    again = distil(case, out, "--fine-tuned-too", "--seeds", 2)
    assert trained == [] and again["runs"] == figures["runs"]
    with pytest.raises(SystemExit) as end:  # the plan of the other, and another learning rate
        main(["--plan", str(out / "plan.yaml"), "--out", str(out), "--lr", "1e-7", "--seeds", "1",
              "--fine-tuned-too", "--min-retention", "1"])  # fmt: skip
    assert end.value.code == 1 and trained == ["kd-1", "ft-1"]


def test_pairs_of_three_classes_with_names_by_the_teachers_answers(tmp_path, transformers, trained):
    said = ["no", "per haps", "yes"]
    case = classifiers.make_case(
        tmp_path / "case", transformers, "roberta", said=said, pairs=True, sizes=(100, 50)
    )
    more = tmp_path / "more.csv"
    more.write_text("premise,hypothesis\nthe soup,was cold\nx,the soup\n")
    out = tmp_path / "out"
    figures = distil(case, out, "--unlabelled", more, "--recipe", "kd+splice", "--metric", "f1")
    assert figures["recipe"] == "kd+splice" and figures["metric"] == "macro_f1"
    assert "(macro F1, %)" in (out / "report" / "report.md").read_text()
    right = [said[its] for its in case.answers]
    wanted = 100 * f1_score(case.labels, right, average="macro")  # of the teacher
    assert figures["teacher"] == pytest.approx(wanted)
    (run,) = figures["runs"]
    assert figures["student"] == pytest.approx(run["score"], abs=0.051)
    assert list(json.loads((out / "config.json").read_text())["id2label"].values()) == said
    served_equals_fairseq(out, transformers, [("the soup", "was cold"), ("x", "numbers and x")])
    assert "--unlabelled-examples allow" in (out / "work" / "data" / "train_flags.txt").read_text()
    assert yaml.safe_load((out / "plan.yaml").read_text())["unlabelled"] == [str(more)]


def test_regression(tmp_path, transformers, trained):
    case = classifiers.make_case(tmp_path / "case", transformers, "distilbert", said=["score"])
    out = tmp_path / "out"
    out.mkdir()
    (out / "special_tokens_map.json").write_text("{}")  # of another model
    figures = distil(case, out, "--force")
    assert not (out / "special_tokens_map.json").exists()
    wanted = torch.corrcoef(torch.tensor([[*map(float, case.labels)], case.answers]))[0, 1]
    assert figures["metric"] == "pearson"
    assert figures["teacher"] == pytest.approx(100 * wanted.item(), abs=1e-3)
    served_equals_fairseq(out, transformers, [("the soup was cold",)])


def test_an_encoder_is_fine_tuned_first(tmp_path, transformers, trained):
    case = classifiers.make_case(tmp_path / "case", transformers, said=["good", "very bad"])
    main(["--encoder", str(case.teacher), "--train", str(case.train), "--out",
          str(tmp_path / "out"), *QUICK, "--teacher-updates", "3", "--allow-weak-teacher",
          "--length", "20"])  # fmt: skip
    assert trained == ["trial", "teacher", "kd-1"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [*config["id2label"].values()] == ["good", "very bad"]


@pytest.mark.parametrize("kind", ["bert", "electra"])
def test_a_vocabulary_of_the_students_own(tmp_path, transformers, trained, kind):
    """Of an encoder that is fine-tuned first."""
    case = classifiers.make_case(tmp_path / "case", transformers, kind, said=["neg", "pos"])
    rows = case.train.read_text().splitlines()
    some = tmp_path / "train.csv"  # without some of the words
    some.write_text("\n".join(row for row in rows if "soup" not in row and "cold" not in row))
    out = tmp_path / "out"
    main(["--encoder", str(case.teacher), "--train", str(some), "--dev", str(case.dev), "--out",
          str(out), *QUICK, "--teacher-updates", "3", "--allow-weak-teacher", "--fine-tuned-too",
          "--trim-vocabulary"])  # fmt: skip
    assert trained == ["trial", "teacher", "kd-1", "ft-1"]
    words = [
        [line.split()[0] for line in (out / "work" / n / "input0" / "dict.txt").open()]
        for n in ("data", "student_data")
    ]
    assert {*words[1]} < {*words[0]} and "soup" in words[0] and "soup" not in words[1]
    served_equals_fairseq(out, transformers, [("the soup was cold",)])
    models = json.loads((out / "report" / "report.json").read_text())["models"]
    teacher, student = (models[f"{name}, fairseq"]["megabytes"] for name in ("teacher", "KD"))
    assert student < teacher
    log = (out / "work" / "logs" / "kd-1.log").read_text()
    assert kind != "bert" or f"the embeddings of {len(words[1]) + 4 + 1} of its" in log


@pytest.mark.parametrize("flags", [[], ["--trim-vocabulary"]])
def test_a_narrower_student(tmp_path, transformers, trained, flags):
    """It begins from the teacher's weights, and is served at its own width."""
    case = classifiers.make_case(tmp_path / "case", transformers, names=["neg", "pos"])
    out = tmp_path / "out"
    figures = distil(case, out, "--width", 12, *flags)
    assert trained == ["trial", "kd-1"] and figures["plan"]["width"] == 12
    config = json.loads((out / "config.json").read_text())
    assert (config["hidden_size"], config["num_attention_heads"]) == (12, 2)
    assert config["intermediate_size"] == 20
    assert "student narrowed from 24 to 12" in (out / "work" / "logs" / "kd-1.log").read_text()
    served_equals_fairseq(out, transformers, [("the soup was cold",)])
    rows = figures["models"]
    sizes = [rows[f"{name}, fairseq"]["parameters"] for name in ("teacher", "KD")]
    assert sizes[1] < 0.5 * sizes[0] and "2 layers of width 12" in (out / "README.md").read_text()


def test_what_is_interrupted_goes_on(tmp_path, monkeypatch, transformers, trained):
    case = classifiers.make_case(tmp_path / "case", transformers, names=["neg", "pos"])
    whole = distil(case, tmp_path / "whole", "--recipe", "auto")
    train = steps.run_training

    def interrupted(command, *rest):
        if "splice-1" in str(command):
            words = [*command]
            words[words.index("--max-update") + 1] = "2"  # as if killed after two updates
            train([*words, "--disable-validation"], *rest)  # the whole run has none here
            raise KeyboardInterrupt
        train(command, *rest)

    out = tmp_path / "out"
    monkeypatch.setattr(steps, "run_training", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distil(case, out, "--recipe", "auto")
    assert not (out / "config.json").exists() and not (out / "report").exists()
    monkeypatch.setattr(steps, "run_training", train)
    trained.clear()
    figures = distil(case, out, "--recipe", "auto")
    assert trained == ["splice-1", "kd+hidden-1"]  # the trial was done
    assert (out / "commands.sh").read_text().count("--hidden-weight 1 ") == 1
    assert figures["runs"] == whole["runs"]
    same = [
        torch.load(o / "checkpoint.pt", weights_only=True)["model"]
        for o in (tmp_path / "whole", out)
    ]
    torch.testing.assert_close(*same, rtol=0, atol=0)


def test_the_command_itself_is_killed_and_run_again(tmp_path, transformers):
    """Real processes; all formats."""
    case = classifiers.make_case(tmp_path / "case", transformers, names=["neg", "pos"])
    out = tmp_path / "out"
    words = ["--teacher", case.teacher, "--train", case.train, "--dev", case.dev, "--out", out,
             *QUICK, "--int8"]  # fmt: skip
    process = subprocess.Popen(cwd=toy.ROOT, **toy.command_of("mixkd_plugin.tools.distil", words))
    log = out / "work" / "logs" / "trial.log"
    while not log.exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 128 + signal.SIGTERM, text
    result = toy.run_module("mixkd_plugin.tools.distil", *words, timeout=900)
    assert "Importing the teacher: done before" in result.stdout
    assert (out / "onnx" / "model.onnx").exists() and "splices" not in result.stdout
    models = json.loads((out / "report" / "report.json").read_text())["models"]
    assert {*models} == {f"{n}, {f}" for n in ("teacher", "KD") for f in ("fairseq", "onnx-int8")}
    served_equals_fairseq(out, transformers, [("the soup was cold",)])
