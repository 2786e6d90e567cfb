"""A study whose runs have another package's distance, flags of fairseq's, or other beginnings."""

import os
import sys

import pytest


@pytest.fixture
def package(tmp_path):
    name = f"study_package_{os.getpid()}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "from mixkd_plugin import register_distance\n"
        f"register_distance('{name}')(lambda student, teacher: (student - teacher).abs().sum(1))\n"
    )
    yield tmp_path / name
    from mixkd_plugin.losses import DISTANCES

    DISTANCES._entries.pop(name, None)
    sys.modules.pop(name, None)


def test_every_command_gets_the_package(faked, package, capsys):
    own = f"user_dir={package}"
    variant = f"variants=['distill-distance={package.name}']"
    assert faked.run(own, variant, "arms=[KD]") == {"done": 1}
    for command in faked.commands:
        if command[2].endswith(("train", "compare")):
            assert command[command.index("--user-dir") + 1] == str(package)
    (line,) = [line for line in faked.lines if line.get("arm") == "KD"]
    assert f"--user-dir {package.name} " in line["command"] and len(line["code"]) == 16
    capsys.readouterr()
    with open(package / "__init__.py", "a") as file:
        file.write("# changed\n")
    assert faked.run(own, variant, "arms=[KD]") == {"already done": 1}
    assert f"2 results are of an earlier {package}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "override, message",
    [
        ("variants=['no-such-flag=1']", "unrecognized arguments: --no-such-flag 1"),
        ("variants=['mixup-alpha=many']", "--mixup-alpha: invalid"),
        ("settings.students.3-layer.arch=no_such", "no_such"),
        ("+settings.teacher.no-such-flag=1", "SST-2/1/teacher/seed1: unrecognized arguments"),
        ("user_dir=/nowhere", "user_dir must be a folder, got /nowhere"),
    ],
)
def test_flags_that_fairseq_does_not_take_end_it_before_anything_is_made(faked, override, message):
    with pytest.raises(ValueError) as refused:
        faked.run("arms=[KD+TMKD]", override)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not (faked.folder / "out").exists() and faked.called == []


def test_a_student_may_begin_with_random_numbers(faked):
    cnn = "+settings.students.tiny={arch: mixkd_tiny, init: scratch}"
    assert faked.run(cnn, "students=[tiny]", "arms=[KD]") == {"done": 1}
    teacher, student = (c for c in faked.commands if c[2].endswith("train"))
    assert "--student-init-path" in teacher and "--student-init-path" not in student


def test_a_student_may_begin_from_another_encoder(faked):
    """It is imported once; if it has changed, the study says what to remove."""
    (faked.folder / "published").mkdir()
    faked.write("published/vocab.txt", "fine")
    other = f"+settings.students.other={{arch: mixkd_tiny, init: {faked.folder}/published}}"
    words = other, "students=[3-layer,other]", "arms=[KD]"
    assert faked.run(*words) == {"done": 2}
    assert faked.called.count("import_hf") == 2
    made = {row["student"]: row["command"] for row in faked.lines if row.get("arm") == "KD"}
    begun = [name for name, words in made.items() if "OUT/inits/published/model.pt" in words]
    assert begun == ["other"]
    assert faked.run(*words) == {"already done": 2}
    faked.write("published/vocab.txt", "changed")
    assert faked.run(*words) == {"already done": 1, "failed": 1}
    (error,) = [line["error"] for line in faked.lines if "error" in line]
    assert "inits/published was made with other settings" in error


def test_two_encoders_of_one_name_are_refused_before_any_run(faked):
    for name in ("a", "b"):
        (faked.folder / name / "published").mkdir(parents=True)
    (faked.folder / "link").symlink_to(faked.folder / "a")  # the same one, which may come twice
    students = ", ".join(
        f"{name}: {{arch: mixkd_tiny, init: {faked.folder}/{name}/published}}"
        for name in ("a", "b", "link")
    )
    words = f"+settings={{students: {{{students}}}}}", "arms=[KD]"
    assert faked.run(*words, "students=[a,link]") == {"done": 2}
    assert faked.called.count("import_hf") == 2
    with pytest.raises(ValueError, match="init must be folders of different names, got .*/b/publ"):
        faked.run(*words, "students=[a,b]")
    assert faked.called == []
