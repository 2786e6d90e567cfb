"""Names with commas, folders named lr=0.1,bs=32 or model:v0, and files that are none."""

import os
import shutil

import pytest
import toy
from encode_files import FEW, classes, decoded, encode, flags_of, refused, write
from refusals import FINE_TUNE, KD, accepts, refusal
from slow_cases import slow

from mixkd_plugin.names import join_names, split_names
from mixkd_plugin.tools.texts.likeness import listed


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "t.csv", ["text", "label"], FEW)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a,b", ["a", "b"]),
        ('"Yes, sure",No', ["Yes, sure", "No"]),
        ('No, "Yes, sure"', ["No", "Yes, sure"]),
        ('"say ""hi"", twice",b', ['say "hi", twice', "b"]),
        ('5" pipe,b', ['5" pipe', "b"]),
        ("a,,b", ["a", "", "b"]),
        ("", [""]),
        ("very bad,good", ["very bad", "good"]),
    ],
)
def test_names(text, expected):
    assert split_names(text) == expected
    assert split_names(join_names(expected)) == split_names(listed(expected)) == expected


def test_an_open_quotation_mark():
    with pytest.raises(ValueError, match='^"a,b: '):
        split_names('"a,b')


def test_classes_and_columns_with_commas(tmp_path, tokenizers):
    rows = [("a", "b", "Yes, sure"), ("b", "c", "No")]
    path = write(tmp_path / "t.csv", ["one, text", 'the "other"', "label, gold"], rows)
    spec = tokenizers["wordpiece"]
    columns = ['"one, text",the "other"', '"label, gold"']
    encode(*flags_of(path, path, spec, tmp_path / "d", *columns), "--labels", '"Yes, sure",No')
    assert classes(tmp_path / "d") == ["Yes,_sure", "No"]
    assert decoded(tmp_path / "d") == [("a", "b", 0), ("b", "c", 1)]
    said = refused(*flags_of(path, path, spec, tmp_path / "e", "one, text", *columns[1:]))
    assert 'only "one, text", "the ""other""", "label, gold"' in said and "quotation marks" in said
    said = refused(
        *flags_of(path, path, spec, tmp_path / "e", *columns), "--labels", "Yes, sure,No"
    )
    assert "got 'Yes, sure'" in said and "quotation marks" in said
    rows = [("1", "2", "a")]
    path = write(tmp_path / "r.csv", ["x,1", "x,2", "text"], rows)
    flags = flags_of(path, path, spec, tmp_path / "r", "text", '"x,1","x,2"')
    encode(*flags, "--regression")
    assert (tmp_path / "r" / "label" / "train.label").read_text() == "1 2\n"


def test_folders_with_commas(tmp_path, tokenizers, files):
    folder = tmp_path / "lr=0.1,bs=32"
    folder.mkdir()
    dev = shutil.copy(files, folder / "dev.csv")
    shutil.copy(files, tmp_path / "dev2.csv")
    kind, _, path = tokenizers["wordpiece"].partition(":")
    shutil.copytree(path, folder / "model")
    encode(*flags_of(files, dev, f"{kind}:{folder}/model", folder / "data"))
    both = f'"{dev}",{tmp_path}/dev2.csv'
    encode(*flags_of(dev, both, f"{kind}:{path}", tmp_path / "two"))
    assert decoded(folder / "data") == decoded(tmp_path / "two", "valid1") != []
    accepts(folder / "data", tmp_path / "student", *FINE_TUNE)


def test_a_data_folder_with_a_colon(tmp_path, tokenizers, files, classification):
    said = refused(*flags_of(files, files, tokenizers["wordpiece"], tmp_path / "data:v0"))
    assert "--out must" in said and f"got {tmp_path}/data:v0" in said and "data-v0" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]
    shutil.copytree(classification, tmp_path / "data:v0")
    message = refusal(tmp_path / "data:v0", tmp_path / "student", *FINE_TUNE)
    assert f"got {tmp_path}/data:v0" in message and "data folder" in message
    (tmp_path / "link").symlink_to(tmp_path / "data:v0")
    accepts(tmp_path / "link", tmp_path / "student", *FINE_TUNE)


def test_teachers_with_a_colon(tmp_path, classification, teacher):
    folder = tmp_path / "model:v0"
    folder.mkdir()
    shutil.copy(teacher, folder / "model.pt")
    for path in (folder / "model.pt", f"{teacher}:{folder}/model.pt:{teacher}"):
        message = refusal(classification, tmp_path / "student", *KD, "--teacher-path", path)
        assert "--teacher-path must" in message and str(path) in message
        assert "rename" in message and f"{folder}/model.pt" in message
    message = refusal(classification, tmp_path / "s", *KD, "--teacher-path", f"{teacher}:none.pt")
    assert "none.pt" in message and "rename" not in message
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", f"{teacher}:{teacher}")


def test_overwritten_symbols_stay_overwritten(tmp_path, tokenizers, files):
    """dict.txt as CamemBERT's has it: training reads the folder."""
    kind, _, path = tokenizers["sentencepiece"].partition(":")
    folder = tmp_path / "model"
    shutil.copytree(os.path.dirname(path), folder)
    known = (folder / "dict.txt").read_text(encoding="utf-8")
    flagged = "".join(f"{s} 9 #fairseq:overwrite\n" for s in ("<unk>", "<s>", "</s>")) + known
    (folder / "dict.txt").write_text(flagged, encoding="utf-8")
    encode(*flags_of(files, files, f"{kind}:{folder}", tmp_path / "d"))
    assert (tmp_path / "d" / "input0" / "dict.txt").read_text(encoding="utf-8") == flagged
    accepts(tmp_path / "d", tmp_path / "student", *FINE_TUNE)
    pieces = [pieces.split() for pieces, _ in decoded(tmp_path / "d")]
    encode(*flags_of(files, files, f"{kind}:{path}", tmp_path / "plain"))
    assert pieces == [pieces.split() for pieces, _ in decoded(tmp_path / "plain")]


# --- files that are none, and dictionaries that cannot be read ---


def no_files(folder):
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "gone").symlink_to(folder / "nothing")
    (folder / "folder").mkdir()
    return [*(folder / n for n in ("fifo", "loop", "gone", "folder")), "/dev/zero", "/dev/null"]


def test_no_regular_files(tmp_path, tokenizers, files):
    spec = tokenizers["wordpiece"]
    (tmp_path / "odd").mkdir()
    for odd in no_files(tmp_path / "odd"):
        flags = [*flags_of(odd, files, spec, tmp_path / "d"), "--format", "csv"]
        assert str(odd) in refused(*flags)
        flags = [*flags_of(files, odd, spec, tmp_path / "d"), "--format", "csv"]
        assert str(odd) in refused(*flags)
        flags = [*flags_of(files, files, spec, tmp_path / "d"), "--dict", odd]
        assert str(odd) in refused(*flags)


BAD_DICTIONARIES = {
    "empty": "",
    "no count": "a\n",
    "count": "a x\n",
    "twice": "a 1\na 1\n",
    "bytes": b"\xff\xfe 1\n",
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("case", ["no count", "bytes", *slow("empty", "count", "twice", "zeros")])
def test_dictionaries_that_cannot_be_read(tmp_path, tokenizers, files, classification, case):
    content = BAD_DICTIONARIES[case]
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "dict.txt").write_bytes(content)
    flags = flags_of(files, files, tokenizers["wordpiece"], tmp_path / "d")
    said = refused(*flags, "--dict", tmp_path / "dict.txt")
    assert "--dict " in said and f"{tmp_path}/dict.txt" in said
    for name in ("input0", "label"):
        data = toy.copy_data(classification, tmp_path / name)
        (data / name / "dict.txt").write_bytes(content)
        cause = "has no symbol" if case == "empty" else "must be a dictionary"
        message = refusal(data, tmp_path / "student", *FINE_TUNE)
        assert f"{data}/{name}/dict.txt {cause}" in message


def test_deep_json(tmp_path, tokenizers, classification, teacher):
    for depth in (500, 900, 980, 990, 5000, 10**5):
        for deep in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            path = tmp_path / "t.jsonl"
            path.write_text(f'{deep}\n{{"text": {deep}, "label": 1}}\n')
            flags = flags_of(path, path, tokenizers["wordpiece"], tmp_path / "d")
            assert "t.jsonl, line 1: " in refused(*flags)
            assert "has no example" in refused(*flags, "--skip-bad-lines")
