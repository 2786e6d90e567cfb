"""`distil` of a teacher of fairseq, and the same command again."""

import errno
import json
import os
import re
import shutil

import hf_models
import pytest
from distilled import QUICK
from encode_files import write
from refusals import error_of
from taught import with_settings

from mixkd_plugin.tools.distil import main
from mixkd_plugin.tools.distil.teacher import files_of_tokenizer

NAMES = ("entailment", "not_entailment")


@pytest.fixture
def words(tmp_path, student):
    """Flags, with a copy of the teacher's tokenizer."""
    rows = [(*pair, NAMES[i % 2]) for i, pair in enumerate(hf_models.PAIRS)]
    table = write(tmp_path / "t.csv", ["premise", "hypothesis", "label"], rows)
    kind, _, folder = student.tokenizer.partition(":")
    shutil.copytree(folder, tmp_path / "tokenizer")
    return ["--teacher", student.checkpoint, "--tokenizer", f"{kind}:{tmp_path / 'tokenizer'}",
            "--train", str(table), "--dev", str(table), "--out", str(tmp_path / "out"), *QUICK,
            "--layers", "1", "--length", "40", "--allow-weak-teacher"]  # fmt: skip


def test_the_tokens_are_those_of_the_tokenizer(tmp_path, words, trained, capsys):
    def encoded_before():
        main([*words, "--dry-run"])
        return "Encoding the texts: done before" in capsys.readouterr().out

    assert not encoded_before()
    (tmp_path / "tokenizer" / "log.txt").write_text("of a program that writes there")
    assert encoded_before()
    file = tmp_path / "tokenizer" / "vocab.txt"
    for name, content in (
        ("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer", "do_lower_case": false}'),
        ("vocab.txt", file.read_text() + "another\n"),
    ):
        (tmp_path / "tokenizer" / name).write_text(content)
        assert not encoded_before(), name
        assert encoded_before()
    assert trained == ["trial"] * 3
    with open(tmp_path / "tokenizer" / "dict.txt", "a") as dictionary:
        dictionary.write("another 1\n")
    with pytest.raises(SystemExit, match="its vocabulary has"):  # not the teacher's any more
        main(words)


def test_a_finished_student_keeps_its_files_or_loses_its_checkpoint(
    tmp_path, words, trained, monkeypatch
):
    """A dry run leaves them; a command that is interrupted leaves no checkpoint of other data."""
    out = tmp_path / "out"
    main([*words, "--dry-run"])
    for name in ("config.json", "checkpoint.pt"):  # as if finished
        (out / name).touch()
    before = {path: path.is_file() and path.read_bytes() for path in out.rglob("*")}
    main([*words, "--length", "20", "--layers", "2", "--dry-run"])
    assert {path: path.is_file() and path.read_bytes() for path in out.rglob("*")} == before
    assert trained == ["trial"] * 2

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mixkd_plugin.tools.distil.steps.run_training", interrupted)
    for length, kept in (("40", True), ("20", False)):
        with pytest.raises(KeyboardInterrupt):
            main([*words, "--length", length])
        assert (out / "checkpoint.pt").exists() == kept and (out / "config.json").exists()


def test_the_files_of_each_kind_of_tokenizer(tmp_path):
    names = ("tokenizer.json", "config.json", "vocab.bpe", "encoder.json", "spiece.model", "m.spm")
    for name in (*names, "model.safetensors", "report.json", "log.txt"):
        (tmp_path / name).touch()
    (tmp_path / "dict.txt").mkdir()
    read = {str(tmp_path / name) for name in names[:-1]}
    assert {*files_of_tokenizer(f"hf:{tmp_path}")} == read
    file = str(tmp_path / "m.spm")
    assert {*files_of_tokenizer(f"sentencepiece:{file}")} == {*read, file}


def test_a_tokenizer_without_a_dictionary(tmp_path, words, trained):
    dictionary = tmp_path / "tokenizer" / "dict.txt"
    dictionary.unlink()
    said = f"--tokenizer must have the model's dict.txt beside it, got no file {dictionary}"
    with pytest.raises(SystemExit, match=re.escape(said)):
        main(words)


def test_a_student_has_no_more_layers_than_it(words, trained):
    assert "--layers must be at most 2" in error_of(main, *words, "--layers", 9) and trained == []


@pytest.mark.parametrize(
    "activation, said",
    [("gelu", "--pooler-activation-fn must be tanh or relu"), ("relu", "--layer-norm-eps must be")],
)
def test_a_head_that_no_student_could_be_exported_with(
    tmp_path, words, student, trained, activation, said
):
    path = tmp_path / "other.pt"
    with_settings(path, student.checkpoint, "model", pooler_activation_fn=activation)
    message = error_of(main, *words, "--teacher", path)
    assert message.startswith("distil: --teacher must ") and str(path) in message
    assert said in message and trained == []


@pytest.mark.slow
def test_the_report_needs_no_onnx(tmp_path, words, trained, capsys, monkeypatch):
    """Where nobody asked for it, and the libraries are there."""

    def export(*_, **__):
        raise ValueError("--to onnx needs a newer torch")

    monkeypatch.setattr("mixkd_plugin.tools.distil.report.has_libraries", lambda *_: True)
    monkeypatch.setattr("mixkd_plugin.tools.serving_report.serving_report.export", export)
    for again in (False, True):
        main(words)
        said = capsys.readouterr().out
        assert "no rows of onnx-int8: " in said and "needs a newer torch" in said
        assert "--formats" not in said and said.count("Measuring quality and speed") == 2
        assert ("Measuring quality and speed: done before" in said) == again
        models = json.loads((tmp_path / "out" / "report" / "report.json").read_text())["models"]
        assert {*models} == {"teacher, fairseq", "KD, fairseq"}
        assert "onnx-int8" not in (tmp_path / "out" / "commands.sh").read_text()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mixkd_plugin.tools.serving_report.serving_report.export", full)
    with pytest.raises(SystemExit, match=os.strerror(errno.ENOSPC)):
        main(words)


@pytest.mark.slow
def test_students_are_those_of_the_users_code(tmp_path, words, trained, monkeypatch):
    package = tmp_path / "code_of_students"
    package.mkdir()
    (package / "__init__.py").write_text("import mixkd_plugin\n")
    monkeypatch.chdir(tmp_path)
    words = [*words, "--", "--user-dir", package.name]
    main(words)
    assert trained == ["trial", "kd-1"]
    commands = (tmp_path / "out" / "commands.sh").read_text().splitlines()
    readers = [line for line in commands if "serving-report" in line or " export " in line]
    assert len(readers) == 2 and all(f"--user-dir {package}" in line for line in readers)
    main(words)
    assert trained == ["trial", "kd-1"]
    (package / "more.py").touch()
    main(words)
    assert trained == ["trial", "kd-1"] * 2
