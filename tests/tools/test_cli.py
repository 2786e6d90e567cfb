"""How all commands end: one sentence, the right exit code, nothing of other libraries."""

import importlib
import importlib.util
import re
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError

import forked
import pytest
import toy
from refusals import error_of
from tiny_tokenizers import write_tokenizer
from toy import ROOT

import mixkd_plugin
from mixkd_plugin.__main__ import COMMANDS, main
from mixkd_plugin.tools.cli import (
    LONGEST,
    TRACEBACK,
    add_out,
    command_parser,
    import_user_dir,
    run_cli,
)
from mixkd_plugin.tools.output import check_out

MINE = ROOT / "examples" / "extend" / "my_mixkd"
TOOLS = {
    name: f"mixkd_plugin.tools.{tool}"
    for name, (tool, _) in COMMANDS.items()
    if importlib.util.find_spec(f"mixkd_plugin.tools.{tool}")
}


@pytest.mark.parametrize("name", TOOLS)
def test_help_is_the_same_by_every_name_and_has_an_example_and_defaults(name, capsys):
    texts, tool = [], importlib.import_module(TOOLS[name])
    for call, words in ((main, [name, "--help"]), (tool.main, ["--help"])):
        with pytest.raises(SystemExit) as end:
            call(words)
        assert end.value.code == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[0].startswith(f"usage: mixkd {name}")
    assert f"example:\n  mixkd {name} " in texts[0]
    for action in tool.build_parser()._actions:
        shown = action.help and action.help != "==SUPPRESS=="
        if shown and action.default not in (None, False, []) and action.dest != "help":
            assert "default" in action.help, action.dest


def test_the_commands_are_listed(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(re.search(f"^  {name} +{re.escape(what)}$", shown, re.MULTILINE)
               for name, (_, what) in COMMANDS.items())  # fmt: skip


@pytest.mark.parametrize("words", [[], ["nothing"], ["--nothing"], ["encode", "--nothing"]])
def test_wrong_usage_is_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and capsys.readouterr().err.startswith("usage: mixkd")


def test_a_command_that_is_not_there_does_not_break_the_others(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mixkd_plugin.tools.study", None)
    with pytest.raises(SystemExit, match="mixkd study: "):
        main(["study", "--help"])
    with pytest.raises(SystemExit) as end:
        main(["report", "--help"])
    assert end.value.code == 0


def test_outputs_have_one_rule(tmp_path, capsys):
    """A flag, or the last word as in earlier versions; not both, not neither."""
    parser = command_parser("name", "It does something.")
    parser.add_argument("source")
    add_out(parser, "folder", word=True)
    parser.add_argument("--to")
    for words in (["a", "b"], ["a", "--out", "b"], ["a", "--to", "x", "b"], ["--out=b", "a"]):
        args = parser.parse_args(words)
        assert (args.source, args.out) == ("a", "b") and "out_word" not in args
    for words in (["a"], ["a", "b", "--out", "c"], ["a", "b", "c"], ["a", "--out", ""]):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(words)
    parser = command_parser("name", "It does something.")
    parser.add_argument("flags", nargs="*")
    assert parser.parse_args(["--", "--lr", "3"]).flags == ["--lr", "3"]
    check_out(str(tmp_path / "new"), force=False)
    (tmp_path / ".hidden").touch()  # of the system, or of a killed command
    check_out(str(tmp_path), force=False)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="--out must be new or empty, got .* with file: --force"):
        check_out(str(tmp_path), force=False)
    check_out(str(tmp_path), force=True)


@pytest.mark.parametrize(
    "words",
    [
        ["import", "x"], ["export", "x", "--to", "hf"], ["compare", "x", "a=x"], ["report", "x"],
        ["serving-report", "x", "a=x"], ["distil", "--teacher", "x", "--train", "x"],
        ["encode", "--train", "x.csv", "--valid", "x.csv", "--text", "a", "--label", "b",
         "--tokenizer", "hf:x"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_folder_with_files_is_refused_by_every_command_before_its_work(tmp_path, words):
    (tmp_path / "earlier.md").write_text("earlier")
    said = error_of(main, *words, "--out", tmp_path)
    assert "--out must be new or empty" in said and "--force" in said and str(tmp_path) in said
    assert [path.name for path in tmp_path.iterdir()] == ["earlier.md"]


@pytest.mark.parametrize(
    "words, program, expected",
    [
        (["python", "/bin/mixkd", "encode"], "/bin/mixkd", True),
        (["python", "-m", "mixkd_plugin", "encode"], "-m", True),
        (["python", "-W", "ignore", "-m", "mixkd_plugin.tools.encode"], "-m", True),
        (["python", "-m", "my_mixkd.train"], "-m", False),  # which imports this package
        (["python", "-c", "spawn", "--multiprocessing-fork"], "/bin/mixkd", False),  # in a child
        (["python", "/bin/fairseq-train", "data"], "/bin/fairseq-train", False),
        (["python", "mixkd.py"], "mixkd.py", False),
        (["python"], "", False),
    ],
)
def test_only_our_own_commands_register_late(monkeypatch, words, program, expected):
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", [program])
    assert mixkd_plugin._is_command() is expected


HELP = """
import sys
from mixkd_plugin.__main__ import main
for name in sys.argv[1:]:
    for words in ([name, "--help"], [name, "--nothing"]):
        try:
            main(words)
        except SystemExit as end:
            assert end.code in (0, 2), (words, end.code)
print(sorted({"fairseq", "numpy", "omegaconf", "pandas", "torch", "transformers"} & {*sys.modules}))
import mixkd_plugin
assert "torch" not in sys.modules
"""


def test_help_waits_for_no_library(tmp_path):
    """As the console command, by its name."""
    (tmp_path / "mixkd").write_text(HELP)
    command = [sys.executable, str(tmp_path / "mixkd"), *TOOLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_flags_are_those_of_the_code(capsys):
    main(["flags", "temperature"])
    shown = capsys.readouterr().out
    assert "--distill-temperature float (default: 1.0)" in shown and "multiplied by T" in shown
    assert "--mixup-alpha" not in shown
    main(["flags"])
    shown = capsys.readouterr().out
    ours = ("--teacher-path", "--mixup-alpha", "--tmkd-weight", "--student-init-path")
    assert all(f"  {flag}" in shown for flag in (*ours, "--lr", "--batch-size", "--arch"))
    assert shown.index("--student-init-path") < shown.index("--lr ")  # ours first
    assert "--fp16-init-scale" not in shown
    main(["flags", "INIT-SCALE"])  # of fairseq's all are searched
    assert "--fp16-init-scale" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="flags: PATTERN must be in .*, got 'nowhere-at-all'"):
        main(["flags", "nowhere-at-all"])


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


@pytest.mark.slow
def test_a_student_of_another_package_is_compared(tmp_path, classification, teacher):
    flags = ["--user-dir", MINE, "--arch", "my_cnn", "--tmkd-weight", 0, "--max-update", 2]
    toy.train(classification, tmp_path / "cnn", *flags)
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
