"""A study that is started again: what changed is not taken for done, what is there is not lost."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import toy
from fairseq.data import Dictionary

from mixkd_plugin.data.labels import class_ids, read_targets
from mixkd_plugin.data.mixup_plan import stratified_subset
from mixkd_plugin.tools import locks
from mixkd_plugin.tools.report import report
from mixkd_plugin.tools.results import read_results
from mixkd_plugin.tools.study import main
from mixkd_plugin.tools.study.commands import portable
from mixkd_plugin.tools.study.log import read_log
from mixkd_plugin.tools.study.study import run_study

ALL = ["train", "train", "train"]  # the teacher, FT and KD


def test_nothing_is_done_twice(faked):
    assert faked.run() == {"done": 2}
    assert sorted(faked.called) == ["compare", "encode", "import_hf", *ALL]
    before = faked.results.read_bytes()
    assert faked.run() == {"already done": 2} and faked.called == []
    assert [line.get("arm") for line in faked.lines] == ["teacher", "FT", "KD", None]
    assert faked.results.read_bytes() == before


@pytest.mark.parametrize("name", ["glue/SST-2/train.tsv", "glue/SST-2/dev.tsv", "source/vocab.txt"])
def test_changed_files_stop_it_until_what_was_made_of_them_is_gone(faked, name, capsys):
    faked.run()
    times = os.stat(faked.folder / name)
    faked.write(name, "sentence\tlabel\ngood\t1\n")
    os.utime(faked.folder / name, (times.st_atime, times.st_mtime))
    made = "encoder" if "source" in name else "data/gold/SST-2"
    assert faked.run() == {"failed": 2}
    assert f"{faked.folder}/out/{made} was made with other settings, or from files" in (
        capsys.readouterr().out
    )
    _ = faked.called
    for folder in {made, "data/gold/SST-2"}:  # the vocabulary is the encoder's
        os.rename(faked.folder / "out" / folder, faked.folder / folder.replace("/", "-"))
    assert faked.run() == {"done": 2}
    assert [tool for tool in faked.called if tool == "train"] == ALL


def test_files_that_are_not_read_may_change_or_go(faked):
    faked.run()
    faked.write("glue/SST-2/test.tsv", "sentence\tlabel\n")
    assert faked.run() == {"already done": 2}
    (faked.folder / "glue/SST-2/train.tsv").unlink()
    (faked.folder / "glue/SST-2/dev.tsv").unlink()
    assert faked.run() == {"already done": 2}


def test_binarised_data_that_changed_are_other_data(faked):
    faked.run()
    _ = faked.called
    (faked.folder / "out/data/gold/SST-2/texts.json").write_text("{}")
    assert faked.run() == {"done": 2} and sorted(faked.called) == ALL
    assert "contents" not in report.overview(read_results([str(faked.results)]))
    (faked.folder / "out/data/gold/SST-2/texts.json").write_text("[]")
    assert faked.run("arms=[KD]") == {"done": 1}
    text = report.overview(read_results([str(faked.results)]))
    assert "**OUT/data/gold/SST-2 had 2 different contents in these runs.**" in text


@pytest.mark.parametrize("old_place", ["gone", "another teacher"])
def test_a_study_that_was_moved_goes_on_there(faked, old_place):
    faked.run()
    _ = faked.called
    old, faked.folder = faked.folder, faked.folder.with_name("elsewhere")
    os.rename(old, faked.folder)
    if old_place != "gone":
        teacher = old / "out/runs/SST-2/1/teacher/seed1/checkpoint_last.pt"
        teacher.parent.mkdir(parents=True)
        teacher.write_text("another")
    assert faked.run() == {"already done": 2} and faked.called == []
    assert faked.run("arms=[FT,KD,SM]") == {"already done": 2, "done": 1}
    assert str(old) not in faked.results.read_text()


def test_a_teacher_of_ones_own_is_known_by_its_content(faked):
    faked.write("mine.pt", "mine")
    own = f"+settings.tasks.SST-2.teacher={faked.folder}/mine.pt"
    assert faked.run(own) == {"done": 2}
    faked.folder = faked.folder.rename(faked.folder.with_name("elsewhere"))
    own = f"+settings.tasks.SST-2.teacher={faked.folder}/mine.pt"
    assert faked.run(own) == {"already done": 2}
    faked.write("mine.pt", "other")
    assert faked.run(own) == {"done": 2}


@pytest.mark.parametrize("kept", ["", "first", "all but the last", "damaged", "cut off"])
def test_results_that_are_gone_are_written_again(faked, kept):
    faked.run()
    whole = faked.results.read_text()
    lines = whole.splitlines(keepends=True)
    faked.results.write_text(
        {
            "": "",
            "first": lines[0],
            "all but the last": "".join(lines[:-1]),
            "damaged": "".join([lines[0], "[" * 100_000 + "\n", *lines[2:]]),
            "cut off": "".join(lines)[:-30],
        }[kept]
    )
    if kept == "":
        faked.results.unlink()
    assert faked.run() == {"already done": 2}
    assert sorted(faked.results.read_text().splitlines()) == sorted(whole.splitlines())
    assert len(read_results([str(faked.results)]).done) == 2


DAMAGED = ['{"arm": 1}', "{", "[" * 100_000, "null", "{}", "\x00", ""]


@pytest.mark.parametrize(
    "whose, content",
    [("1/teacher", DAMAGED[0]), *(("0.5/gold/3-layer/KD/recipe", text) for text in DAMAGED)],
)
def test_a_damaged_result_is_made_again(faked, capsys, whose, content):
    faked.run()
    _ = faked.called
    path = faked.folder / "out" / "runs" / "SST-2" / whose / "seed1" / "result.json"
    path.write_text(content)
    runs = faked.run()
    assert f"{path} is damaged" in capsys.readouterr().out
    # the teacher comes out the same
    assert runs == ({"already done": 2} if "teacher" in whose else {"already done": 1, "done": 1})
    assert faked.called[0] == "train" and json.loads(path.read_text())["status"] == "done"
    assert faked.run() == {"already done": 2}


def test_a_failure_is_a_line_until_the_run_is_done(faked):
    call = faked.call
    faked.call = lambda commands, name, command, *rest: (
        call(commands, name, command, *rest) if "--kd-weight 1" not in name else 1 / 0
    )
    assert faked.run() == {"done": 1, "failed": 1}
    assert [line["error"] for line in faked.lines if line.get("status") == "failed"]
    faked.call = call
    assert faked.run() == {"already done": 1, "done": 1}
    assert not [line for line in faked.lines if line.get("status") == "failed"]


def test_a_run_that_diverged_is_written_once(faked):
    faked.run()
    path = faked.folder / "out/runs/SST-2/0.5/gold/3-layer/KD/recipe/seed1/result.json"
    path.write_text(path.read_text().replace('"loss": 0.9', '"loss": NaN'))
    for _ in range(3):
        faked.run()
    assert len(faked.lines) == 4 and "NaN" in faked.results.read_text()


def test_only_whole_paths_have_other_names():
    words = [sys.executable, "-m", "fairseq_cli.train", "/a/out/data", "/a/outer/x", "/b/a/out"]
    named = portable([*words, "t=/a/out"], {"/a/out": "OUT"})
    assert named == "fairseq-train OUT/data /a/outer/x /b/a/out t=OUT"


def test_without_file_locks_it_says_so_and_all_else_works(faked, monkeypatch, capsys):
    """As on Windows, where report and --list work."""
    monkeypatch.setattr(locks, "fcntl", None)
    study = [str(a) for a in ("examples/glue/study.yaml", f"glue.gold={faked.folder}/glue")]
    study += [f"out={faked.folder}/out", "tasks=[SST-2]"]
    main([*study, "--list"])
    assert "/seed1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="study: out must be .*fcntl"):
        main(study)


@pytest.mark.slow
def test_report_and_study_can_be_imported_without_what_only_linux_has():
    said = toy.run_module("without_linux").stdout
    assert int(said.split()[-1]) >= 1, said


@pytest.mark.slow
def test_examples_are_counted_by_the_log_of_a_resumed_run(tmp_path, classification):
    """Whatever its sentences say; the first process ends in the middle of an epoch."""
    flags = ["--log-format", "json", "--sm-weight", 0, "--tmkd-weight", 0, "--train-fraction", 0.5]
    flags += ["--batch-size", 8, "--valid-subset", "valid,train"]  # updates of an epoch: 7
    text = ""
    for updates in (3, 10):
        text += toy.train(classification, tmp_path, *flags, "--max-update", updates).stdout
    log = read_log("\n".join(line for line in text.splitlines() if "| {" in line))
    assert log.examples == len(stratified_half(classification))
    assert (log.updates, log.curve[-1]["updates"]) == (10, 10)
    assert log.examples < log.examples_seen < 2 * log.examples
    alone = toy.train(classification, tmp_path / "alone", *flags, "--max-update", 10).stdout
    assert read_log(alone)[1:] == log[1:]


def stratified_half(data):
    classes = read_targets(str(data), "train", Dictionary.load(f"{data}/label/dict.txt"), 2, True)
    return stratified_subset(class_ids(classes), 0.5, 1)


def test_two_at_once_lose_nothing(faked):
    """As on two machines: a third study of the same folder begins while two are running."""
    study = faked.read("arms=[FT,KD,SM,TMKD]")
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda _: run_study(study), range(2)))
    assert sum(end.get("done", 0) for end in ends) == 4
    faked.results.write_text("")
    faked.run("arms=[FT,KD,SM,TMKD]")
    results = read_results([str(faked.results)])
    assert sorted(result.run.arm for result in results.done) == ["FT", "KD", "SM", "TMKD"]
    assert len(results.teachers) == len(results.speeds) == 1
