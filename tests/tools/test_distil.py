"""The whole of `distil` on small classifiers of transformers, with few updates."""

import json
import signal
import subprocess
import time
from pathlib import Path

import classifiers
import hf_models
import inprocess
import pytest
import torch
import toy
import yaml

from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.distil import main, steps
from mixkd_plugin.tools.export.export import load
from mixkd_plugin.tools.export.texts import fairseq_row

pytestmark = pytest.mark.slow
QUICK = ("--recipe", "kd", "--updates", "4", "--layers", "2", "--cpu")


@pytest.fixture
def trained(monkeypatch):
    """The folders of the `fairseq-train` that `distil` runs, here in this process."""
    folders = []

    def run_training(command, log, updates, text):
        words = command[3:]
        folders.append(Path(words[words.index("--save-dir") + 1]).name)
        with open(log, "a") as file:
            file.write(
                "".join(f"| {line}\n" for line in inprocess.run_training(words).splitlines())
            )

    monkeypatch.setattr(steps, "run_training", run_training)
    monkeypatch.setattr("mixkd_plugin.tools.distil.report.has_libraries", lambda *_: False)
    return folders


def distil(case, out, *flags):
    main(["--teacher", str(case.teacher), "--train", str(case.train), "--dev", str(case.dev),
          "--out", str(out), *QUICK, *map(str, flags)])  # fmt: skip
    return json.loads((out / "report" / "report.json").read_text())


def served_equals_fairseq(out, transformers, texts):
    """transformers' pipeline in OUT gives the logits of the fairseq student."""
    data = str(out / "work" / "data")
    loaded = load(str(out / "checkpoint.pt"), data)
    tokenizer = build_tokenizer(f"hf:{out / 'work' / 'teacher'}")
    rows = [fairseq_row(t, tokenizer, loaded.task)[None] for t in texts]
    ours = torch.cat([loaded.logits({"net_input": {"src_tokens": row}}) for row in rows])
    pipe = transformers.pipeline("text-classification", model=str(out), truncation=True)
    inputs = [t[0] if len(t) == 1 else {"text": t[0], "text_pair": t[1]} for t in texts]
    names = list(pipe.model.config.id2label.values())
    theirs = [
        {
            one["label"]: one["score"]
            for one in pipe(one_input, top_k=None, function_to_apply="none")
        }
        for one_input in inputs
    ]
    theirs = torch.tensor([[one[name] for name in names] for one in theirs])
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    return pipe


def test_a_classifier_and_a_table_become_a_student(tmp_path, monkeypatch, trained):
    transformers = hf_models.import_transformers(monkeypatch)
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
    assert figures["student"] == pytest.approx(best, abs=0.01)
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
    assert not list((out / "work").rglob("checkpoint*.pt"))

    trained.clear()  # the same command again: nothing is trained
    again = distil(case, out, "--fine-tuned-too", "--seeds", 2)
    assert trained == [] and again["runs"] == figures["runs"]
    with pytest.raises(SystemExit) as end:  # the plan of the other, and another learning rate
        main(["--plan", str(out / "plan.yaml"), "--out", str(out), "--lr", "1e-7", "--seeds", "1",
              "--fine-tuned-too", "--min-retention", "1"])  # fmt: skip
    assert end.value.code == 1 and trained == ["kd-1", "ft-1"]


def test_pairs_of_three_classes_with_names_by_the_teachers_answers(tmp_path, monkeypatch, trained):
    transformers = hf_models.import_transformers(monkeypatch)
    said = ["no", "perhaps", "yes"]
    case = classifiers.make_case(
        tmp_path / "case", transformers, "roberta", said=said, pairs=True, sizes=(100, 50)
    )
    more = tmp_path / "more.csv"
    more.write_text("premise,hypothesis\nthe soup,was cold\nx,the soup\n")
    out = tmp_path / "out"
    distil(case, out, "--unlabelled", more)
    assert list(json.loads((out / "config.json").read_text())["id2label"].values()) == said
    served_equals_fairseq(out, transformers, [("the soup", "was cold"), ("x", "numbers and x")])
    assert "--unlabelled-examples allow" in (out / "work" / "data" / "train_flags.txt").read_text()
    assert yaml.safe_load((out / "plan.yaml").read_text())["unlabelled"] == [str(more)]


def test_regression(tmp_path, monkeypatch, trained):
    transformers = hf_models.import_transformers(monkeypatch)
    case = classifiers.make_case(tmp_path / "case", transformers, "distilbert", said=["score"])
    out = tmp_path / "out"
    figures = distil(case, out)
    wanted = torch.corrcoef(torch.tensor([[*map(float, case.labels)], case.answers]))[0, 1]
    assert figures["metric"] == "pearson"
    assert figures["teacher"] == pytest.approx(100 * wanted.item(), abs=1e-3)
    served_equals_fairseq(out, transformers, [("the soup was cold",)])


def test_an_encoder_is_fine_tuned_first(tmp_path, monkeypatch, trained):
    transformers = hf_models.import_transformers(monkeypatch)
    case = classifiers.make_case(tmp_path / "case", transformers, said=["neg", "pos"])
    main(["--encoder", str(case.teacher), "--train", str(case.train), "--out",
          str(tmp_path / "out"), *QUICK, "--teacher-updates", "3", "--allow-weak-teacher",
          "--length", "20"])  # fmt: skip
    assert trained == ["trial", "teacher", "kd-1"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [*config["id2label"].values()] == ["neg", "pos"]


def test_what_is_interrupted_goes_on(tmp_path, monkeypatch, trained):
    transformers = hf_models.import_transformers(monkeypatch)
    case = classifiers.make_case(tmp_path / "case", transformers, names=["neg", "pos"])
    whole = distil(case, tmp_path / "whole", "--recipe", "auto")
    train = steps.run_training

    def interrupted(command, *rest):
        if "mixkd-1" in str(command):
            words = [*command]
            words[words.index("--max-update") + 1] = "2"  # as if killed after two updates
            train(words, *rest)
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
    assert trained == ["mixkd-1", "kd-1"]  # the trial was done
    assert figures["runs"] == whole["runs"]
    same = [
        torch.load(o / "checkpoint.pt", weights_only=True)["model"]
        for o in (tmp_path / "whole", out)
    ]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])


def test_the_command_itself_is_killed_and_run_again(tmp_path, monkeypatch):
    """Real processes; all formats."""
    transformers = hf_models.import_transformers(monkeypatch)
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
    assert (out / "onnx" / "model.onnx").exists() and "MixKD" not in result.stdout
    models = json.loads((out / "report" / "report.json").read_text())["models"]
    assert {*models} == {f"{n}, {f}" for n in ("teacher", "KD") for f in ("fairseq", "onnx-int8")}
    served_equals_fairseq(out, transformers, [("the soup was cold",)])
