"""A teacher with a vocabulary of its own reads its own tokens, mixed as the student's are."""

import shutil
from pathlib import Path
from typing import NamedTuple

import inprocess
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toy
from conftest import EVERYTHING, TEACHER
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from recorded_train import watcher
from same_end import assert_same_end
from test_processes import flags_of
from test_teacher_cache import contents, loads  # noqa: F401  (a fixture)
from two_vocabularies import add_second_text, pieces_of, teachers_copy, texts_of

from mixkd_plugin.mixup import Mix

HEAD = "sentence_classification_head"
# Not the student's, which begins with <s>: the teacher's layout is the teacher's own.
INIT = 2


class Case(NamedTuple):
    data: Path
    copy: Path  # the teacher's
    teacher: Path
    flags: list  # of the student

    def flags_for(self, folder, *extra):
        flags = ["--teacher-path", self.teacher, "--teacher-data", self.copy, *self.flags]
        return toy.train_flags(self.data, folder, *flags, *extra)

    def run(self, folder, *extra, watcher=lambda *_: None):
        return inprocess.run_training(self.flags_for(folder, *extra), watcher)


def make_case(folder, data, flags=(), teacher_flags=()):
    copy = teachers_copy(data, folder / "copy")
    teacher_flags = [*TEACHER, "--init-token", INIT, *teacher_flags]
    inprocess.run_training(
        toy.train_flags(copy, folder / "teacher", *teacher_flags, task="sentence_prediction")
    )
    return Case(data, copy, folder / "teacher" / "checkpoint_last.pt", list(flags))


@pytest.fixture(scope="session")
def words(tmp_path_factory, classification):
    return make_case(tmp_path_factory.mktemp("words"), classification)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Regression on pairs: </s> </s> between the student's texts, </s> between the teacher's."""
    folder = tmp_path_factory.mktemp("pairs")
    data = add_second_text(toy.make_data(folder / "data", {"train": 61, "valid": 19}, targets=1))
    flags = ["--num-classes", 1, "--regression-target"]
    return make_case(folder, data, [*flags, "--separator-token", 2], flags)


# --- what the teacher is asked ---


class Reference:
    """The teacher's answers from the raw texts, one row at a time, by fairseq's own pass."""

    def __init__(self, case):
        self.model = RobertaModel.from_pretrained(
            str(case.teacher.parent), case.teacher.name, str(case.copy), bpe=None
        ).model.eval()
        dictionary = Dictionary.load(str(case.copy / "input0" / "dict.txt"))
        self.rows = {}
        for split in ("train", "valid"):
            for i, texts in enumerate(texts_of(case.data, split)):
                pieces = [p for text in texts for p in [*pieces_of(text), "</s>"]]
                tokens = [INIT, *map(dictionary.index, pieces)]
                assert dictionary.unk() not in tokens
                self.rows[split, i] = torch.tensor(tokens)

    def logits(self, split, i, partner=None, lam=1.0):
        tokens = self.rows[split, i]
        embed = self.model.encoder.sentence_encoder.embed_tokens
        other = self.rows[split, i if partner is None else partner]
        longest = max(len(tokens), len(other))
        mixed = torch.zeros(longest, embed.embedding_dim)
        mixed[: len(tokens)] += lam * embed(tokens)
        mixed[: len(other)] += (1 - lam) * embed(other)
        union = torch.cat([tokens, other[len(tokens) :]])
        features, _ = self.model.encoder.extract_features(union[None], token_embeddings=mixed[None])
        return self.model.classification_heads[HEAD](features)[0]

    @torch.no_grad()
    def of_batch(self, batch, split="train"):
        """(clean, mixed) logits."""
        ids, partners = batch["id"].tolist(), batch["partner"]["id"].tolist()
        clean = [self.logits(split, i) for i in ids]
        mixed = [
            self.logits(split, ids[m % len(ids)], partners[m], lam)
            for m, lam in enumerate(batch["lam"].tolist())
        ]
        return torch.stack(clean), torch.stack(mixed)


@pytest.mark.parametrize("name", ["words", "pairs"])
@pytest.mark.parametrize(
    "flags",
    [
        [],  # clean examples are looked up, mixes asked about in the step
        ["--max-update", 2],  # all in the step
        ["--mixup-period", 1, "--train-fraction", 0.5, "--padding-free", "off"],  # all looked up
    ],
    ids=lambda flags: " ".join(map(str, flags)) or "plain",
)
def test_losses_are_those_of_the_teachers_own_tokens(tmp_path, request, name, flags):
    case = request.getfixturevalue(name)
    reference, compared = Reference(case), []

    def compare(trainer, batches):
        for batch in batches:
            clean, mixed = reference.of_batch(batch)
            known = trainer.task.teacher_outputs.logits(batch, clean=True, mixed=True)
            torch.testing.assert_close(known.clean, clean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(known.mixed, mixed, rtol=1e-4, atol=1e-5)
            _, _, logged = trainer.criterion(trainer.model, batch)
            student = student_logits(trainer, batch)
            for term, of_student, of_teacher, each in (
                ("kd", student[: len(clean)], clean, 1),
                ("tmkd", student[len(clean) :], mixed, 2),
            ):
                expected = F.mse_loss(of_student, of_teacher, reduction="sum") / each
                expected = expected / (1 if "--regression-target" in case.flags else clean.size(1))
                torch.testing.assert_close(logged[f"{term}_loss"], expected, rtol=1e-4, atol=1e-5)
            compared.extend(batch["id"].tolist())

    flags = ["--kd-weight", 1, "--mixup-ratio", 2, "--max-epoch", 1, *flags]
    flags += ["--dropout", 0, "--attention-dropout", 0]
    case.run(tmp_path, *flags, watcher=compare)
    assert len(compared) >= 25 and len(set(compared)) == len(compared)


def student_logits(trainer, batch):
    """[clean; mixed], by the student's own tokens."""
    mix = Mix(batch["partner"]["net_input"]["src_tokens"], batch["lam"])
    with torch.no_grad():
        logits, _ = trainer.model(
            **batch["net_input"], features_only=True, classification_head_name=HEAD,
            mix=mix, with_clean=True,
        )  # fmt: skip
    return logits


def test_in_validation_too(tmp_path, words):
    """The teacher's own accuracy is what the student's run reports."""
    own = inprocess.validate(
        words.copy, "--path", words.teacher, "--user-dir", toy.PLUGIN, "--batch-size", 5,
        "--task", "mixkd_sentence_prediction", "--required-batch-size-multiple", 1,
    )  # fmt: skip
    log = words.run(tmp_path, "--max-epoch", 1)
    seen = toy.last_values(log, "valid")
    assert seen["teacher_accuracy"] == toy.last_values(own, "valid")["accuracy"]
    assert seen["teacher_accuracy"] > 50


# --- what stays as it was ---


def test_a_copy_in_the_students_vocabulary_changes_nothing(
    tmp_path,
    classification,
    teacher,
    loads,  # noqa: F811
):
    """Not a bit, and the answers on disk are the same ones."""
    copy = toy.copy_data(classification, tmp_path / "copy")
    case = Case(classification, copy, teacher, ["--kd-weight", 1, "--mixup-ratio", 2])
    plain = toy.train_flags(
        classification, tmp_path / "plain", *case.flags, "--teacher-path", teacher
    )
    inprocess.run_training(plain)
    case.run(tmp_path / "own")
    assert_same_end(tmp_path / "plain", tmp_path / "own")
    cache = ["--teacher-cache", tmp_path / "c"]
    inprocess.run_training([*plain, *cache, "--save-dir", tmp_path / "a"])
    loads.clear()
    case.run(tmp_path / "b", *cache)
    assert_same_end(tmp_path / "a", tmp_path / "b")
    assert loads == []


@pytest.mark.parametrize("flags", [["--max-tokens", 70], ["--batch-by-length", "off"]], ids=str)
def test_the_students_batches_mixes_and_random_numbers_are_its_own(tmp_path, words, flags):
    """The teacher, which no term asks here, is loaded and validated with."""
    flags = ["--tmkd-weight", 0, "--mixup-ratio", 2, "--num-workers", 1, *flags]
    with_teacher, without = [], []
    words.run(tmp_path / "with", *flags, watcher=watcher(with_teacher.append))
    inprocess.run_training(
        toy.train_flags(words.data, tmp_path / "without", *flags), watcher(without.append)
    )
    assert with_teacher == without
    assert_same_end(tmp_path / "with", tmp_path / "without", but=("meters",))


def test_no_key_is_added_without_the_flag(tmp_path, words, teacher):
    keys = []

    def note(_trainer, batches):
        keys.append(set(batches[0]) | set(batches[0]["partner"]))

    words.run(tmp_path / "with", "--max-update", 1, watcher=note)
    flags = ["--teacher-path", teacher, "--max-update", 1]
    inprocess.run_training(toy.train_flags(words.data, tmp_path / "without", *flags), note)
    assert keys[0] - keys[1] == {"teacher_tokens"} and keys[1] < keys[0]


# --- with everything else ---


def test_the_parameters_of_two_processes_are_those_of_one(tmp_path, words):
    one, two = (
        [*flags_of(words.data, tmp_path / n, words.teacher, size), "--teacher-data", words.copy]
        for n, size in (("one", 1), ("two", 2))
    )
    inprocess.run_training(one)
    toy.two_processes("fairseq_cli.train", two)
    one, two = (inprocess.checkpoint(tmp_path / name)["model"] for name in ("one", "two"))
    for name, parameter in one.items():
        torch.testing.assert_close(parameter, two[name], rtol=0, atol=1e-6)


def test_answers_on_disk_are_found_again_by_any_student(tmp_path, words, loads):  # noqa: F811
    """Also by one of the teacher's own vocabulary, whose data are the copy."""
    flags = ["--kd-weight", 1, "--teacher-cache", tmp_path / "cache"]
    words.run(tmp_path / "cold", *flags)
    assert loads
    loads.clear()
    words.run(tmp_path / "warm", *flags)
    assert_same_end(tmp_path / "cold", tmp_path / "warm")
    same = ["--teacher-path", words.teacher, "--init-token", INIT, *flags]
    inprocess.run_training(toy.train_flags(words.copy, tmp_path / "same", *same))
    assert loads == []


def test_a_changed_copy_is_not_answered_by_old_answers(tmp_path, words, loads):  # noqa: F811
    flags = ["--kd-weight", 1, "--max-epoch", 1, "--teacher-cache", tmp_path / "cache"]
    words.run(tmp_path / "a", *flags)
    assert len(contents(tmp_path / "cache")) == 3
    copy = toy.copy_data(words.copy, tmp_path / "copy")
    tokens = np.fromfile(copy / "input0" / "train.bin", dtype=np.uint16)
    tokens[0] = 4 + (tokens[0] - 3) % 40
    tokens.tofile(copy / "input0" / "train.bin")
    loads.clear()
    words._replace(copy=copy).run(tmp_path / "b", *flags)
    assert loads and len(contents(tmp_path / "cache")) == 3 + 2  # validation has its own text


def test_a_resumed_run_is_the_straight_run(tmp_path, words):
    flags = ["--kd-weight", 1, "--mixup-period", 2, "--max-epoch", 3, "--num-workers", 1]
    words.run(tmp_path / "whole", *flags)
    words.run(tmp_path / "parts", *flags, "--max-update", 10)  # in the second epoch
    words.run(tmp_path / "parts", *flags)
    # where the first part stopped it also validated
    assert_same_end(tmp_path / "whole", tmp_path / "parts", but=("scores", "meters"))


def test_a_student_outlives_the_copy(tmp_path, words):
    """An ensemble, and every term; then the student loads, validates and answers without them."""
    copy = toy.copy_data(words.copy, tmp_path / "copy")
    path = shutil.copy(words.teacher, tmp_path / "teacher.pt")
    flags = [*EVERYTHING, "--teacher-path", f"{path}:{path}", "--student-init-layers", "first"]
    log = words._replace(copy=copy).run(tmp_path / "s", *flags)
    shutil.rmtree(copy)
    Path(path).unlink()
    student = tmp_path / "s" / "checkpoint_last.pt"
    again = inprocess.validate(
        words.data, "--path", student, "--user-dir", toy.PLUGIN, "--batch-size", 7,
        "--task", "mixkd_sentence_prediction",
    )  # fmt: skip
    assert toy.last_values(again, "valid")["accuracy"] == toy.last_values(log, "valid")["accuracy"]
    hub = RobertaModel.from_pretrained(str(student.parent), student.name, str(words.data), bpe=None)
    assert hub.predict(HEAD, torch.tensor([0, 5, 6, 2])).shape == (1, 2)


# --- long texts ---


@pytest.fixture(scope="module")
def short(tmp_path_factory, words):
    """A teacher that takes 9 tokens; the copy has texts of up to 26."""
    state = torch.load(words.teacher)
    state["cfg"]["task"]["max_positions"] = 9
    state["cfg"]["model"].max_positions = 9
    (name,) = (n for n in state["model"] if n.endswith("embed_positions.weight"))
    state["model"][name] = state["model"][name][: 9 + 2].clone()
    path = tmp_path_factory.mktemp("short") / "short.pt"
    torch.save(state, path)
    return words._replace(teacher=path)


def test_texts_too_long_for_the_teacher_are_an_error_or_cut(tmp_path, short):
    with pytest.raises(ValueError) as error:
        short.run(tmp_path / "a")
    message = f"--teacher-path {short.teacher} .--teacher-data {short.copy}.: it takes at most 9 "
    message += r"tokens, --teacher-data \S+ has an example of \d\d: .*--shorten-method truncate"
    assert error.match(message)
    lengths = []

    def note(_trainer, batches):
        lengths.extend(batch["teacher_tokens"].size(1) for batch in batches)
        lengths.extend(batch["partner"]["teacher_tokens"].size(1) for batch in batches)

    short.run(tmp_path / "b", "--shorten-method", "truncate", "--max-epoch", 1, watcher=note)
    assert max(lengths) == 9


def test_texts_too_long_for_the_student_are_nothing_to_the_teacher(tmp_path, short):
    """Those of up to 4 tokens are 6 at most in the copy."""
    skip = ["--max-positions", 4, "--skip-invalid-size-inputs-valid-test", "--kd-weight", 1]
    asked = []

    def note(_trainer, batches):
        for batch in batches:
            asked.extend(batch["id"].tolist() + batch["partner"]["id"].tolist())

    short.run(tmp_path, *skip, "--max-epoch", 1, watcher=note)
    short_texts = [i for i, (t,) in enumerate(texts_of(short.data, "train")) if len(t.split()) <= 2]
    assert sorted(asked) == sorted(short_texts * 2) and len(short_texts) > 5
