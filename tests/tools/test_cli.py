"""How all commands end: one sentence, the right exit code, nothing of other libraries."""

import importlib
import signal
import subprocess
import textwrap
from argparse import ArgumentParser, ArgumentTypeError

import forked
import pytest
import toy
from tiny_tokenizers import write_tokenizer
from toy import ROOT

from mixkd_plugin.tools.cli import LONGEST, TRACEBACK, import_user_dir, run_cli

MINE = ROOT / "examples" / "extend" / "my_mixkd"
TOOLS = ("compare", "encode", "export", "import_hf", "report", "serving_report", "study")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_command_can_be_called_from_python(tool, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"mixkd_plugin.tools.{tool}").main(["--help"])
    assert end.value.code == 0 and f"mixkd_plugin.tools.{tool}" in capsys.readouterr().out


def ended(error, argv=()):
    """What the command ``name`` exits with where its work raises ``error``."""

    def work(_args):
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as end:
        run_cli("name", ArgumentParser, work, argv)
    return end.value.code


@pytest.mark.parametrize(
    "error, message",
    [
        (ValueError("--flag must be 1, got 2"), "name: --flag must be 1, got 2"),
        (ArgumentTypeError("x"), "name: ArgumentTypeError: x (unexpected; MIXKD_TRACEBACK=1"),
        (FileNotFoundError(2, "No such file", "a/b"), "name: a/b: No such file"),
        (OSError("disk"), "name: disk"),
        (ImportError("No module named 'onnx'"), "name: No module named 'onnx'"),
        (ValueError("two\n  lines\n\n"), "name: two lines"),
        (ValueError("a\x1b[31mred\x07"), "name: a\\x1b[31mred\\x07"),
        (KeyError("model"), "name: KeyError: 'model' (unexpected; MIXKD_TRACEBACK=1 shows where)"),
        (StopIteration(), "name: StopIteration (unexpected"),
        (RecursionError("maximum depth"), "name: RecursionError: maximum depth (unexpected"),
    ],
)
def test_an_error_is_one_sentence(error, message):
    code = ended(error)
    assert code.startswith(message) and "\n" not in code


def test_a_sentence_has_an_end():
    assert len(ended(ValueError("x" * 10**7))) < LONGEST + 20


def test_the_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(KeyError):
        run_cli("name", ArgumentParser, lambda args: {}["x"], [])


def test_other_ends(capsys):
    assert ended(SystemExit(7)) == 7
    assert ended(None, ["--unknown"]) == 2
    with pytest.raises(SystemExit) as end:
        run_cli("name", ArgumentParser, lambda args: 1, [])
    assert end.value.code == 1
    assert run_cli("name", ArgumentParser, lambda args: None, []) is None


def test_a_package_that_cannot_be_imported_is_one_sentence(tmp_path):
    broken = tmp_path / "broken_mixkd"
    broken.mkdir()
    (broken / "__init__.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ValueError, match="--user-dir .*broken_mixkd cannot be imported .*nowhere"):
        import_user_dir(str(broken))
    with pytest.raises(ValueError, match="--user-dir must be a package's folder, got .*none"):
        import_user_dir(str(tmp_path / "none"))
    import_user_dir(None)
    import_user_dir(str(toy.PLUGIN))


def test_a_student_of_another_package_is_compared(tmp_path, classification, teacher):
    flags = ["--user-dir", MINE, "--arch", "my_cnn", "--tmkd-weight", 0, "--max-update", 2]
    train = ["fairseq_cli.train", *toy.train_flags(classification, tmp_path / "cnn", *flags)]
    assert forked.run(train)[0][0] == 0
    student = f"cnn={tmp_path / 'cnn' / 'checkpoint_last.pt'}"
    command = ["mixkd_plugin.tools.compare", classification, f"teacher={teacher}", student]
    command += ["--rounds", 1, "--out"]
    mine = ["--user-dir", MINE, "--tokenizer", write_tokenizer("wordpiece", tmp_path / "words")]
    serve = ["mixkd_plugin.tools.serving_report", *command[1:], tmp_path / "served", *mine]
    export = ["mixkd_plugin.tools.export", tmp_path / "cnn" / "checkpoint_last.pt"]
    (code, log), (alone, refused), (served, row), (exported, said) = forked.run(
        [*command, tmp_path / "out", "--user-dir", MINE],
        [*command, tmp_path / "none"],
        [*serve, "--formats", "fairseq"],
        [*export, tmp_path / "none", "--to", "onnx", *mine],
    )
    assert code == 0 and "| cnn " in log, log
    assert alone == 1 and len(refused.splitlines()) == 1 and "Traceback" not in refused, refused
    assert served == 0 and "| cnn, fairseq " in row, row
    assert exported == 1 and said.startswith("export: CHECKPOINT must be of a RoBERTa"), said


# --- as processes of their own ---


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_usage(tool):
    module = f"mixkd_plugin.tools.{tool}"
    (helped, shown), (wrong, said) = forked.run((module, "--help"), (module, "--unknown"))
    assert helped == 0 and shown.startswith(f"usage: python -m {module}"), shown
    assert wrong == 2 and said.startswith("usage: "), said


@pytest.mark.slow
def test_an_error_is_all_that_is_printed(tmp_path, classification):
    arguments = ["none", "a=b", "--out", tmp_path / "out"]
    ((code, said),) = toy.run_together(("mixkd_plugin.tools.compare", *arguments), check=False)
    assert code == 1
    assert said == "compare: DATA_DIR none: none/input0/dict.txt does not exist\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_command_that_is_told_to_end(tmp_path, number, code):
    (tmp_path / "waiting.py").write_text(textwrap.dedent(WAITING))
    command = toy.command_of("waiting", [tmp_path / "held"])
    process = subprocess.Popen(cwd=tmp_path, **command)
    for line in process.stdout:
        if line == "ready\n":
            break
    process.send_signal(number)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == code, log
    assert "Traceback" not in log and not (tmp_path / "held").exists()


WAITING = """
    import argparse, os, time
    from mixkd_plugin.tools.cli import run_cli

    def parser():
        parser = argparse.ArgumentParser()
        parser.add_argument("held")
        return parser

    def work(args):
        open(args.held, "w").close()
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            os.remove(args.held)

    run_cli("waiting", parser, work)
"""
