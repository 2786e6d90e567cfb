"""The quickstart: its sample is what its head says, and run.sh goes through and resumes."""

import json
import re
import sys

import hf_encoders
import hf_families
import pytest
import sample
import toy
from small_study import write_sample


def rows(text):
    header, *lines = text.splitlines()
    assert header == "sentence\tlabel"
    return [line.split("\t") for line in lines]


def test_sample_is_the_same_everywhere(tmp_path):
    first = write_sample(tmp_path / "a", "--train", 300, "--dev", 100)
    assert first == write_sample(tmp_path / "b", "--train", 300, "--dev", 100)
    assert first != write_sample(tmp_path / "c", "--train", 300, "--dev", 100, "--seed", 2)
    # written down once: a change of Python or of the rules would show
    assert first["train.tsv"].splitlines()[1:4] == SENTENCES


SENTENCES = [
    "we thought the script was very laughable\t0",
    "i would never deny that the hotel was first-rate\t1",
    "the dessert made us ask for our money back\t0",
]


def test_sample_is_balanced_and_dev_is_new(tmp_path):
    files = write_sample(tmp_path / "s")
    train, dev = rows(files["train.tsv"]), rows(files["dev.tsv"])
    assert (len(train), len(dev)) == (6000, 800)
    for part in (train, dev):
        assert sum(label == "1" for _, label in part) * 2 == len(part)
        assert len({sentence for sentence, _ in part}) == len(part)
    train_words = {word for sentence, _ in train for word in sentence.split()}
    for table in (sample.GOOD, sample.BAD):
        seen, unseen = sample.columns(table, None)
        assert set(seen) <= train_words
        assert not set(unseen) & train_words


def test_wrong_labels_are_in_the_training_set_alone():
    """By the one construction whose verdict is plain to see."""
    good, bad = sample.columns(sample.PRAISE), sample.columns(sample.COMPLAINT)
    shares = []
    for part, number in enumerate((6000, 800)):
        verdicts = {act: "1" for act in good[part]}
        verdicts.update({act: "0" for act in bad[part]})
        plain = [
            (str(label), verdicts[act])
            for sentence, label in sample.compose(number, part, seed=1)
            for act in verdicts
            if re.fullmatch(f"the [a-z ]+ made us {act}", sentence)
        ]
        assert len(plain) > 20
        shares.append(sum(label != verdict for label, verdict in plain) / len(plain))
    assert 0.03 < shares[0] < 0.1
    assert shares[1] == 0


def test_no_word_gives_the_label_away(tmp_path):
    """A word of the training set predicts the label little better than chance."""
    train = rows(write_sample(tmp_path / "s")["train.tsv"])
    acts = {w for table in (sample.PRAISE, sample.COMPLAINT) for w in re.findall(r"\w+", table)}
    counts = {}
    for sentence, label in train:
        for word in set(sentence.split()):
            counts.setdefault(word, [0, 0])[int(label)] += 1
    for word, (bad, good) in counts.items():
        if word not in acts and bad + good >= 100:
            assert 0.3 < good / (bad + good) < 0.7, word


def quickstart(venv, out, *arguments):
    words = ["--out", out, *arguments]
    return toy.run_script(venv, "quickstart/run.sh", *words, cwd=out.parent, check=False)


@pytest.mark.slow
def test_run_goes_through_and_resumes(tmp_path, venv, transformers):
    """All of run.sh with a small untrained encoder and a few steps."""
    glue, source, out = tmp_path / "glue", tmp_path / "bert", tmp_path / "out"
    files = write_sample(glue, "--train", 64, "--dev", 21)
    texts = [text for text, _ in rows(files["train.tsv"])]
    tokenizer = hf_families.write_family("bert", source, transformers, texts)
    hf_encoders.write_classifier(
        "bert", source, transformers, "Model", tokenizer=tokenizer, num_hidden_layers=3,
        max_position_embeddings=99,
    )  # fmt: skip
    short = ("--glue=glue", "--task", "SST-2", "--encoder", source, "--fraction", 0.5,
             "--updates", 2, "--teacher-updates", 2, "--allow-weak-teacher", "--layers", 2,
             "--cpu", "--", "--mixup-alpha", 0.5)  # fmt: skip
    code, text = quickstart(venv, out, *short)
    assert code == 0 and "done before" not in text, text
    report = json.loads((out / "student" / "report" / "report.json").read_text())
    assert {run["recipe"] for run in report["runs"]} == {"kd+hidden", "splice", "ft"}
    assert "teacher, fairseq" in report["models"]
    assert (out / "student" / "report" / "report.md").read_text() in text
    commands = (out / "student" / "commands.sh").read_text().splitlines()
    trained = [line for line in commands if line.startswith("fairseq-train ")]
    assert len(trained) == 4
    assert all("--train-fraction 0.5 --mixup-alpha 0.5" in line for line in trained[1:])

    steps = out / "student" / "work" / "steps"
    (steps / "kd+hidden-1.json").unlink()  # as if it had been interrupted
    code, text = quickstart(venv, out, *short)
    assert code == 0 and text.count("done before") == 8, text


def test_bad_options(tmp_path):
    (tmp_path / "bin").mkdir()  # of an environment that is asked whether it has fairseq
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    def refuse(message, *arguments):
        code, text = quickstart(tmp_path, tmp_path / "out", *arguments)
        assert code == 2 and message in text

    refuse("unrecognized arguments: --epochs", "--glue", "none", "--epochs", "3")
    refuse("--fraction needs a value", "--fraction")
