"""The tasks of a study: GLUE's, and folders of one's own, looked for before any run."""

import pytest
from encode_files import write_glue
from refusals import error_of
from small_study import STUDY

from mixkd_plugin.tools.study import main, plan
from mixkd_plugin.tools.study.study import read_study
from mixkd_plugin.tools.study.tasks import check_tasks, source_flags


def test_a_task_of_ones_own_has_columns_with_known_names(tmp_path):
    write_glue(tmp_path / "own", ["review", "category"], [("wheat", "grain")])
    write_glue(tmp_path / "RTE", ["sentence1", "sentence2", "label"], [("a", "b", "entailment")])
    words = [f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}", "tasks=[own,RTE]"]
    config = read_study(str(STUDY), words)
    check_tasks(config)
    folder = tmp_path / "own"
    assert source_flags(str(folder), "own") == [
        *("--train", f"{folder}/train.tsv", "--valid", f"{folder}/dev.tsv"),
        *("--text", "review", "--label", "category"),
    ]
    assert {run.task for run in plan.all_runs(config)} == {"own", "RTE"}


@pytest.mark.parametrize("task", ["own", "none", "../own"])
def test_a_task_that_cannot_be_read_is_refused_before_any_work(tmp_path, task):
    glue = tmp_path / "glue"
    write_glue(glue / "own", ["words", "kind", "colour"], [("wheat", "grain")])
    with pytest.raises(SystemExit, match=f"tasks.*{task}") as refused:
        main([str(STUDY), f"glue.gold={glue}", f"out={tmp_path / 'out'}", f"tasks=[{task}]"])
    assert ("words, kind, colour" in str(refused.value)) == (task == "own")
    assert not (tmp_path / "out").exists()


def test_all_files_of_the_tasks_are_looked_for_before_any_run(tmp_path):
    header = ["sentence", "label"]
    write_glue(tmp_path / "SST-2", header, [("fine", "1")])
    write_glue(tmp_path / "RTE", header, [("a", "entailment")])
    (tmp_path / "SST-2" / "dev.tsv").unlink()
    words = [STUDY, f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}"]
    said = error_of(main, *words, "tasks=[SST-2,RTE,MNLI]")
    missing = [
        "SST-2/dev.tsv",
        *(f"MNLI/{name}.tsv" for name in ("train", "dev_matched", "dev_mismatched")),
    ]
    assert said.endswith(f"got no {', '.join(f'{tmp_path}/{name}' for name in missing)}")
    assert "RTE/train.tsv: no column" in error_of(main, *words, "tasks=[RTE]")
    (tmp_path / "SST-2" / "dev.tsv").write_text("text\tlabel\nfine\t1\n")
    assert "SST-2/dev.tsv: no column" in error_of(main, *words, "tasks=[SST-2]")
    assert not (tmp_path / "out").exists()
