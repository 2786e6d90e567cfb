"""encode --glue: what it refuses, with file and line, and what --force replaces."""

import shutil

import pytest
from encode_files import decoded, encode_glue, refused, write_glue
from encode_files import encode as encode_by_flags

from mixkd_plugin.tools.encode.encode import encode
from mixkd_plugin.tools.encode.sources import glue_source

SST2, RTE = ["sentence", "label"], ["sentence1", "sentence2", "label"]
REFUSALS = {
    "no column": ("SST-2", ["text", "label"], [["a", "1"]], "no column sentence, only text, label"),
    "unknown label": ("SST-2", SST2, [["a", "1"], ["a", "2"]], "label must be one of 0, 1"),
    "empty label": ("SST-2", SST2, [["a", ""]], "train.tsv, line 2: label must"),
    "missing": ("SST-2", SST2, [["a", "NA"]], "allows it in the training file)"),
    "fields": ("RTE", RTE, [["a", "b"]], "line 2: 2 fields where the first line has 3"),
    "no example": ("SST-2", SST2, [], "has no example"),
    "no header": ("SST-2", None, [], "is empty"),
    "score": ("STS-B", ["sentence1", "sentence2", "score"], [["a", "b", "x"]], "must be a number"),
    "high score": (
        "STS-B", ["sentence1", "sentence2", "score"], [["a", "b", "6"]], "score must be in",
    ),
    "few columns": ("CoLA", None, [["a", "1"]], "must have 4 fields in a line, got 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_file_and_line(tmp_path, model, case):
    task, header, rows, message = REFUSALS[case]
    glue = write_glue(tmp_path / "g", header, rows)
    with pytest.raises(ValueError) as error:
        encode_glue(glue, task, model, tmp_path / "d")
    assert message in str(error.value)
    assert str(glue / "train.tsv") in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["g"], "something was written all the same"


def test_bad_lines_can_be_left_out(tmp_path, model, capsys):
    rows = [["a", "1"], ["b"], ["c", "0"]]
    glue = write_glue(tmp_path / "g", SST2, rows)
    encode_glue(glue, "SST-2", model, tmp_path / "d", skip_bad_lines=True)
    assert decoded(tmp_path / "d") == [("a", 1), ("c", 0)]
    assert "1 lines left out" in capsys.readouterr().out


def test_bad_arguments(tmp_path, model):
    glue = write_glue(tmp_path / "g", SST2, [["a", "1"]])

    def refuse(message, **changes):
        arguments = {
            "folder": str(glue), "task_name": "SST-2", "tokenizer_spec": f"wordpiece:{model}",
            "out": str(tmp_path / "d"), **changes,
        }  # fmt: skip
        with pytest.raises(ValueError) as error:
            encode(glue_source(arguments.pop("folder"), arguments.pop("task_name")), **arguments)
        assert message in str(error.value)

    refuse("--task must be one of CoLA, MNLI", task_name="sst2")
    refuse("got 'bert:x'", tokenizer_spec="bert:x")
    refuse("must be a file", tokenizer_spec=f"wordpiece:{tmp_path}")
    refuse("must be a file", tokenizer_spec=f"sentencepiece:{tmp_path}/none.model")
    refuse("no file", folder=str(tmp_path))
    refuse("got no file", dictionary=str(tmp_path / "none.txt"))
    refuse("--out must be new or empty", out=str(glue))
    (glue / "dev.tsv").write_bytes(b"sentence\tlabel\n\xff\t1\n")
    refuse("dev.tsv must be UTF-8")


def test_force_replaces_a_data_folder_and_nothing_else(tmp_path, model):
    glue = write_glue(tmp_path / "glue", ["sentence", "label"], [["the soup", "0"], ["cold", "1"]])
    flags = ["--glue", glue, "--task", "SST-2", "--tokenizer", f"wordpiece:{model}", "--out"]
    encode_by_flags(*flags, tmp_path / "data", "--max-tokens", "7")
    before = (tmp_path / "data" / "encoding.json").read_text()
    assert '"max_length": 7' in before  # under its old name, too
    assert "--out must be new or empty" in refused(*flags, tmp_path / "data")
    encode_by_flags(*flags, tmp_path / "data", "--max-length", "8", "--force")
    assert '"max_length": 8' in (tmp_path / "data" / "encoding.json").read_text()
    for name in ("checkpoints/checkpoint_last.pt", "tokenizer/model.pt", "label/mine.txt"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
        said = refused(*flags, tmp_path / "data", "--force")
        assert f"--out must have no files but those of a data folder, got {tmp_path}" in said
        assert name in said
        (tmp_path / "data" / name).unlink()
    inside = shutil.copytree(model, tmp_path / "data" / "tokenizer", dirs_exist_ok=True)
    (inside / "vocab.txt").unlink()
    flags[flags.index("--tokenizer") + 1] = f"wordpiece:{inside}"
    said = refused(*flags, tmp_path / "data", "--force")
    assert (
        f"--tokenizer must be outside of --out, which is replaced, got wordpiece:{inside}" in said
    )
    assert (inside / "tokenizer.json").exists()
    assert "--out must be new or empty, or with --force a data folder" in refused(
        *flags, glue, "--force"
    )
    assert (glue / "train.tsv").exists()
