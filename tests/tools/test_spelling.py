"""Classes with blanks, which fairseq's dict.txt cannot have: `encode` notes them for later use."""

import json
import shutil

import pytest
from encode_files import classes, encode, flags_of, write
from predictions import PAIRS, predicted, write_table
from refusals import error_of

from mixkd_plugin.__main__ import main
from mixkd_plugin.tools.remembered import read_encoding


@pytest.mark.parametrize(
    "header, labels, label, flags",
    [
        (["text", "label"], ["very bad", " so  so "], "label", []),
        (["text", "label"], ["very_bad", "so so"], "label", ["--labels", "so so,very bad,x y"]),
        (["text", "label"], ["very bad|so so", "so so"], "label", ["--multi-label"]),
        (["text", "very bad", "so so"], ["1,0", "0,1"], "very bad,so so", ["--multi-label"]),
    ],
)
def test_encode_notes_them(tmp_path, wordpiece, header, labels, label, flags):
    path = write(tmp_path / "t.csv", header, [("a", *text.split(",")) for text in labels])
    encode(*flags_of(path, path, wordpiece, tmp_path / "d", label=label), *flags)
    spelling = read_encoding(str(tmp_path / "d")).spelling
    assert {"very_bad", "so_so"} <= {*classes(tmp_path / "d")}
    assert {name: spelling[name] for name in ("very_bad", "so_so")} == {
        "very_bad": "very bad",
        "so_so": "so so",
    }


def test_predict_and_export_use_them(tmp_path, capsys, transformers, student):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(student.data, data)
    noted = json.loads((data / "encoding.json").read_text())
    assert noted["spelling"] == {}

    def note(spelling):
        (data / "encoding.json").write_text(json.dumps({**noted, "spelling": spelling}))

    note({"not_entailment": "not entailment"})
    table = write_table(tmp_path / "t.csv", PAIRS[:2])
    words = [student.checkpoint, "--data", data, "--tokenizer", student.tokenizer]
    rows, _ = predicted(capsys, *words[:1], table, *words[1:])
    assert [*rows[0]] == ["label", "entailment", "not entailment"]
    main(["export", *map(str, words), "--to", "hf", "--out", str(out)])
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "entailment", "1": "not entailment"}
    for damaged in ({"not_entailment": "entailment"}, {"not_entailment": 1}, ["not entailment"]):
        note(damaged)
        said = error_of(main, "predict", *words[:1], table, *words[1:])
        assert "encoding.json: spelling must have" in said and "encode the data again" in said
