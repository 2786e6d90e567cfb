"""A teacher with a vocabulary of its own reads its own tokens, mixed as the student's are."""

import inprocess
import pytest
import torch
import torch.nn.functional as F
import toy
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from recorded_train import watcher
from same_end import assert_same_end
from slow_cases import slow
from toy import HEAD
from two_vocabularies import INIT, Case, pieces_of, texts_of

from mixkd_plugin.mixup import Mix

# --- what the teacher is asked ---


class Reference:
    """Teacher logits of the raw texts, one sequence at a time, by fairseq's own pass."""

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


# Clean examples are looked up and mixes asked about in the step, all in the step, all looked up.
SPLIT, IN_STEP = [], ["--max-update", 2]
LOOKED_UP = ["--mixup-period", 1, "--train-fraction", 0.5, "--padding-free", "off"]


@pytest.mark.parametrize(
    "name, flags",
    [
        ("words", SPLIT),
        ("pairs", LOOKED_UP),
        *slow(("words", IN_STEP), ("words", LOOKED_UP), ("pairs", SPLIT), ("pairs", IN_STEP)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else value,
)
def test_losses_are_those_of_the_teachers_own_tokens(tmp_path, request, name, flags):
    case = request.getfixturevalue(name)
    reference, compared = Reference(case), []

    def compare(trainer, batches):
        for batch in batches:
            clean, mixed = reference.of_batch(batch)
            completed, _ = trainer.task.complete(batch)
            found = completed["teacher_logits"], completed["partner"]["teacher_logits"]
            torch.testing.assert_close(found[0], clean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found[1], mixed, rtol=1e-4, atol=1e-5)
            _, _, logged = trainer.criterion(trainer.model, completed)
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


@pytest.mark.slow
def test_in_validation_too(tmp_path, words):
    """The teacher's own accuracy is what the student's run reports."""
    flags = ["--batch-size", 5, "--required-batch-size-multiple", 1]
    own = inprocess.validate(*toy.validate_flags(words.copy, words.teacher, *flags))
    log = words.run(tmp_path, "--max-epoch", 1)
    seen = toy.last_values(log, "valid")
    assert seen["teacher_accuracy"] == toy.last_values(own, "valid")["accuracy"]
    assert seen["teacher_accuracy"] > 50


# --- what does not change ---


@pytest.mark.slow
def test_a_copy_in_the_students_vocabulary_changes_nothing(
    tmp_path, classification, teacher, loads
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


@pytest.mark.parametrize(
    "flags", [["--batch-by-length", "off"], *slow(["--max-tokens", 70])], ids=str
)
def test_the_students_batches_mixes_and_random_numbers_are_its_own(tmp_path, words, flags):
    """The teacher, which no term asks here, is loaded and validated with."""
    flags = ["--tmkd-weight", 0, "--mixup-ratio", 2, "--num-workers", 1, *flags]
    with_teacher, without = [], []
    words.run(tmp_path / "with", *flags, watcher=watcher(with_teacher.append))
    toy.fit(words.data, tmp_path / "without", *flags, watcher=watcher(without.append))
    assert with_teacher == without
    assert_same_end(tmp_path / "with", tmp_path / "without", but=("meters",))


def test_no_key_is_added_without_the_flag(tmp_path, words, teacher):
    keys = []

    def note(_trainer, batches):
        keys.append(set(batches[0]) | set(batches[0]["partner"]))

    words.run(tmp_path / "with", "--max-update", 1, watcher=note)
    flags = ["--teacher-path", teacher, "--max-update", 1]
    toy.fit(words.data, tmp_path / "without", *flags, watcher=note)
    assert keys[0] - keys[1] == {"teacher_tokens"} and keys[1] < keys[0]
