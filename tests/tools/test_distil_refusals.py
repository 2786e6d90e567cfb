"""What `distil` refuses, with the flag, its value and a cure, and what it leaves then: nothing."""

import os
import shutil

import classifiers
import hf_models
import pytest
from refusals import error_of

from mixkd_plugin.tools.distil import main


@pytest.fixture(scope="module")
def case(tmp_path_factory, transformers):
    return classifiers.make_case(
        tmp_path_factory.mktemp("distil") / "case", transformers, names=["neg", "pos"]
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The import of the teacher is the same for all."""
    return tmp_path_factory.mktemp("distil") / "out"


def refused(case, out, *flags, train=None):
    given = {"--teacher": case.teacher, "--train": train or case.train, "--dev": case.dev}
    words = [word for pair in given.items() if pair[1] for word in pair]
    message = error_of(main, *words, "--out", out, *flags)
    assert "unexpected" not in message
    return message


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


TABLES = {
    "no label column": ("sentence,what\na,b\nc,d\n", "--label"),
    "one class": ("sentence,label\na,neg\nb,neg\n", "neg"),
    "empty": ("", "empty"),
    "a header alone": ("sentence,label\n", "no example"),
    "other classes": ("sentence,label\na,joy\nb,anger\n", "joy"),
    "numbers for a classifier": ("sentence,label\na,0.5\nb,1.5\n", "0.5"),
    "no labels": ("sentence,label\na,\nb,\n", "--label"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(case, tmp_path, name):
    text, said = TABLES[name]
    message = refused(case, tmp_path / "out", train=write(tmp_path / "train.csv", text))
    assert said in message and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--encoder", "x"], "--encoder"),
        (["--glue", "x"], "--glue"),
        (["--task", "RTE"], "--task"),
        (["--min-retention", "2"], "--min-retention"),
        (["--max-unknown", "1.5"], "--max-unknown must be in [0, 1], got 1.5"),
        (["--minutes", "0"], "--minutes"),
        (["--lr", "-1"], "--lr"),
        (["--labels", "neg"], "--labels"),
        (["--tokenizer", "hf:x"], "--tokenizer must be given with a fairseq checkpoint, got hf:x"),
        (["--teacher-updates", "9"], "--teacher-updates must be given with --encoder, got 9"),
        (["--metric", "micro_f1"],
         "--metric must be accuracy or f1 for these labels, got micro_f1"),
        (["--plan", "absent.yaml"], "--plan"),
        (["--unlabelled", "absent.txt"], "absent.txt"),
        (["--", "lr"], "--"),
        (["--", "--dropout", "0", "--best-checkpoint-metric=loss"],
         "--best-checkpoint-metric must be absent after --, where distil has its own: give "
         "--metric before --"),
        (["--", "--max-update", "9"], "--updates"),
        (["--", "--save-dir", "x"], "--out"),
        (["--", "--user-dir", "absent"], "--user-dir must be a package's folder, got"),
        (["--", "--no-save"], "--no-save must be absent after --"),
        (["--", "--disable-validation"], "--disable-validation must be absent after --"),
        (["--recipe", "kd,splice", "--trim-vocabulary"], "got splice"),
        (["--recipe", "kd+splice", "--trim-vocabulary"], "got kd+splice"),
        (["--recipe", "kd+hidden", "--trim-vocabulary"], "got kd+hidden"),
        (["--layers", 4], "--layers must be at most 3"),
        (["--init-layers", "7"], "--init-layers 7: layer 7 does not exist"),
        (["--init-layers", "0,2"], "--init-layers 0,2: 2 layers for a student of 1"),
        (["--init-layers", "last"], "--init-layers must be first, spaced, or positions"),
        (["--width", 15], "--width must be a multiple of 6"),  # the teacher has 4 heads of 6
        (["--width", 30], "--width must be a multiple of 6"),
        (["--width", 12, "--recipe", "kd,kd+hidden"],
         "--recipe must be another one with --width 12, got kd+hidden"),
        (["--length", 81], "--length must be at most 80"),
    ],
)  # fmt: skip
def test_flags(case, tmp_path, flags, said):
    assert said in refused(case, tmp_path / "out", *flags) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flag", ["--dev=x", "--text=x", "--label=x", "--multi-label", "--label-separator=x",
             "--regression"],
)  # fmt: skip
def test_flags_of_a_table_beside_glue(case, tmp_path, flag):
    words = ["--teacher", str(case.teacher), "--glue", str(tmp_path), "--task", "RTE", flag]
    said = f"{flag.partition('=')[0]} must be given with --train, got --glue"
    with pytest.raises(SystemExit, match=said):
        main([*words, "--out", str(tmp_path / "out")])


def test_no_onnx_and_no_width_of_what_transformers_computes(case, tmp_path):
    settings = (case.teacher / "config.json").read_text().replace('"bert"', '"electra"')
    shutil.copytree(case.teacher, tmp_path / "hf")
    write(tmp_path / "hf" / "config.json", settings)
    for flag in (["--int8"], ["--width", 12]):
        message = refused(case._replace(teacher=tmp_path / "hf"), tmp_path / "out", *flag)
        assert flag[0] in message and "electra" in message and not (tmp_path / "out").exists()


def test_labels_that_the_predictions_contradict(case, tmp_path):
    message = refused(case, tmp_path / "out", "--labels", "pos,neg")
    assert "--labels" in message and "got pos,neg" in message and "say neg,pos" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("named", [True, False])
def test_a_teacher_without_a_tokenizer(case, tmp_path, named):
    folder = shutil.copytree(case.teacher, tmp_path / "hf")
    for path in folder.iterdir():
        if "token" in path.name or "vocab" in path.name:
            path.unlink()
    if not named:
        hf_models.change(folder / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    message = refused(case._replace(teacher=folder), tmp_path / "out")
    assert f"--teacher {folder}" in message and "tokenizer.json" in message


@pytest.fixture
def earlier(case, tmp_path):
    """A distillation's folder: its student is a Hugging Face folder, and has been exported."""
    folder = shutil.copytree(case.teacher, tmp_path / "student")
    for name in ("work/exports/hf", "onnx"):
        shutil.copytree(case.teacher, folder / name)
    (folder / "work" / "distil.lock").touch()
    (tmp_path / "link").symlink_to(folder)
    return folder


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["--teacher", "--encoder"])
@pytest.mark.parametrize("place", [".", "../student", "../link", "work/exports/hf", "onnx"])
def test_a_student_does_not_take_the_place_of_what_is_read(case, earlier, kind, place):
    before = files_in(earlier)
    words = [kind, earlier / place, "--train", case.train, "--out", earlier, "--force"]
    said = f"--out must be another folder than that of {kind}, got {earlier}"
    assert said in error_of(main, *words)
    assert files_in(earlier) == before


def test_nor_of_a_checkpoint_or_its_tokenizer(case, earlier, student, tmp_path):
    file = shutil.copy(student.checkpoint, earlier / "checkpoint.pt")
    (tmp_path / "t.pt").symlink_to(file)
    (earlier / "there.pt").symlink_to(student.checkpoint)
    of_tokenizer = {"--tokenizer": student.tokenizer}
    for flags in (
        {"--teacher": file},
        {"--teacher": file, **of_tokenizer},
        {"--teacher": tmp_path / "t.pt", **of_tokenizer},
        {"--teacher": earlier / "there.pt"},
        {"--tokenizer": f"hf:{earlier}", "--teacher": student.checkpoint},
    ):
        words = [word for pair in flags.items() for word in pair]
        said = error_of(main, *words, "--train", case.train, "--out", earlier)
        assert f"--out must be another folder than that of {[*flags][0]}, got {earlier}" in said


def test_an_earlier_distillation_of_another_teacher_may_be_replaced(case, earlier):
    """Which goes on to the next check."""
    assert "--layers must be at most 3" in refused(case, earlier, "--layers", 4)


@pytest.mark.parametrize("name", ["work/data/mine.txt", "onnx/model.onnx", "work"])
def test_folders_of_others_are_not_removed(case, tmp_path, name):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    write(file, "mine")
    folder = tmp_path / "out" / name.partition("/")[0]
    for force in ([], ["--force"]):
        assert "--out must " in refused(case, tmp_path / "out", *force)
    said = refused(case, tmp_path / "out", "--force")
    assert f"{folder}" in said and file.read_text() == "mine"


def test_empty_ones_are_used(case, tmp_path):
    """Such as that of a distillation that was killed at once."""
    for name in ("work", "onnx"):
        (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out" / "README.md").touch()
    message = refused(case, tmp_path / "out", "--layers", 4, "--force")
    assert "--layers must be at most 3" in message


def test_a_distillation_whose_work_was_removed_is_repeated(case, tmp_path):
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/model.onnx", "plan.yaml"):
        write(tmp_path / name, "ours")
    assert "--force writes into it" in refused(case, tmp_path)
    assert "--layers must be at most 3" in refused(case, tmp_path, "--layers", 4, "--force")


def test_an_encoder_has_its_own_tokenizer(case, tmp_path):
    words = ["--encoder", case.teacher, "--tokenizer", f"hf:{case.teacher}", "--train", case.train]
    said = error_of(main, *words, "--out", tmp_path / "out")
    assert f"--tokenizer must be given with a fairseq checkpoint, got hf:{case.teacher}" in said
    assert not (tmp_path / "out").exists()


def test_an_encoder_is_no_teacher(case, tmp_path):
    folder = shutil.copytree(case.teacher, tmp_path / "hf")
    hf_models.change(folder / "config.json", architectures=["BertModel"])
    message = refused(case._replace(teacher=folder), tmp_path / "out")
    assert f"--teacher must be a classifier, got {folder}" in message and "--encoder" in message


def test_a_teacher_that_names_no_head(case, tmp_path):
    folder = shutil.copytree(case.teacher, tmp_path / "hf")
    hf_models.change(folder / "config.json", architectures=None)
    message = refused(case._replace(teacher=folder), tmp_path / "out")
    assert "architectures must name the head" in message and "--encoder in the place" in message
    assert "--encoder-only" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(case, tmp_path):
    tmp_path.chmod(0o500)
    assert str(tmp_path) in refused(case, tmp_path / "out")


def test_a_work_folder_that_cannot_be_written(case, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "distil.lock").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("work"))
    message = refused(case, tmp_path)
    assert "--out must be a writable folder" in message and f"{tmp_path / 'work'}" in message


def test_what_the_teacher_cannot_do(case, out, tmp_path):
    """These need its import, which is done once."""
    assert "--length must leave room for each text, got 2" in refused(case, out, "--length", 2)
    swapped = case.train.read_text().replace(",neg", ",?").replace(",pos", ",neg")
    dev = case.dev.read_text().replace(",neg", ",?").replace(",pos", ",neg")
    wrong = write(tmp_path / "dev.csv", dev.replace(",?", ",pos"))
    train = write(tmp_path / "train.csv", swapped.replace(",?", ",pos"))
    message = refused(case, out, "--dev", wrong, train=train)
    assert "--allow-weak-teacher" in message and "--labels" in message
    assert not (out / "config.json").exists() and not (out / "plan.yaml").exists()
    thai = "".join(f"สวัสดีครับ {i},{'neg' if i % 2 else 'pos'}\n" for i in range(8))
    train = write(tmp_path / "train.csv", f"sentence,label\n{thai}")
    given = ["--dev", wrong, "--length", 40]
    message = refused(case, out, *given, train=train)
    assert "<unk>" in message and "in place of --max-unknown 0.25" in message
    message = refused(case, out, *given, "--max-unknown", 1, train=train)  # which goes on
    assert "<unk>" not in message and "--allow-weak-teacher" in message
