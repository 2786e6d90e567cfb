"""Half precision on a CPU: losses in float32, no nan, and a teacher that overflows is named."""

import math

import inprocess
import pytest
import torch
import toy
from ranks import refusals
from refusals import KD, assert_matches
from same_end import assert_same
from slow_cases import slow
from toy import TERMS

HALF = ["--fp16", "--fp16-no-flatten-grads"]
EVERYTHING = ["--kd-weight", 1, "--distill-distance", "kl", "--max-epoch", 1]


def assert_losses_of_float32(flags, float32, *types):
    """``types``: of the parameters of the student and of the teacher."""
    seen = set()

    def watch(trainer, batches):
        (model,) = trainer.task.teacher.ensemble._models
        seen.add((next(trainer.get_model().parameters()).dtype, next(model.parameters()).dtype))

    values = toy.last_values(inprocess.run_training(flags, watch), "train")
    assert seen == {types}
    for term in TERMS:
        assert values[term] == pytest.approx(float32[term], rel=0.05, abs=0.01)


def train(data, folder, teacher, *flags, watcher=lambda *_: None):
    flags = [*EVERYTHING, "--teacher-path", teacher, *flags]
    return toy.fit(data, folder, *flags, watcher=watcher)


@pytest.fixture(scope="module")
def float32(tmp_path_factory, classification, teacher):
    log = train(classification, tmp_path_factory.mktemp("float32"), teacher)
    return toy.last_values(log, "train")


@pytest.mark.parametrize(
    "flags, student, teachers",
    [
        (HALF, torch.float16, torch.float16),
        (["--bf16", "--teacher-dtype", "float16"], torch.bfloat16, torch.float16),
        *slow(
            ([*HALF, "--teacher-dtype", "float32"], torch.float16, torch.float32),
            ([*HALF, "--teacher-dtype", "bfloat16"], torch.float16, torch.bfloat16),
            (["--memory-efficient-fp16"], torch.float16, torch.float16),
            (["--bf16"], torch.bfloat16, torch.bfloat16),
            (["--memory-efficient-bf16"], torch.bfloat16, torch.bfloat16),
            (["--amp"], torch.float32, torch.float32),  # on a CPU fairseq's amp does nothing
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_losses_are_those_of_float32(
    tmp_path, classification, teacher, float32, flags, student, teachers
):
    flags = [*EVERYTHING, "--teacher-path", teacher, *flags]
    flags = toy.train_flags(classification, tmp_path, *flags)
    assert_losses_of_float32(flags, float32, student, teachers)
    state = inprocess.checkpoint(tmp_path)
    assert all(v.isfinite().all() for v in state["model"].values())


@pytest.mark.parametrize(
    "half, distance",
    [(HALF, "mse"), *slow((HALF, "kl"), (["--bf16"], "mse"), (["--bf16"], "kl"))],
    ids=str,
)
def test_the_criterion_returns_float32(tmp_path, classification, teacher, half, distance):
    """Its sum over a batch would overflow in float16."""
    flags = [*half, "--distill-distance", distance]
    dtypes = set()

    def watch(trainer, batches):
        sample, _ = trainer._prepare_sample(batches[0])
        sample, _ = trainer.task.complete(sample)
        loss, _, logged = trainer.criterion(trainer.model.train(), sample)
        terms = [logged[term] for term in TERMS]
        dtypes.update(value.dtype for value in [loss, *terms])

    train(classification, tmp_path, teacher, *flags, watcher=watch)
    assert dtypes == {torch.float32}


@pytest.mark.slow
def test_the_command_line_and_hydra_agree_on_bfloat16(tmp_path, classification):
    """``--bf16`` means a TPU to fairseq-train, and fails on a machine without."""
    flags = ["--tmkd-weight", 0, "--bf16", "--max-epoch", 1]
    done = toy.train(classification, tmp_path / "cli", *flags)
    assert "xla" not in done.stdout
    toy.run_module(
        "fairseq_cli.hydra_train", f"hydra.run.dir={tmp_path}/hydra",
        f"common.user_dir={toy.PLUGIN}", "common.cpu=true", "common.bf16=true",
        "+task._name=mixkd_sentence_prediction", f"+task.data={classification}",
        "+task.num_classes=2", "+task.init_token=0", "+task.max_positions=64",
        "~criterion", "+criterion._name=mixkd", "+criterion.tmkd_weight=0",
        "+model._name=mixkd_tiny", "dataset.batch_size=16", "dataset.num_workers=0",
        "optimizer=adam", "lr_scheduler=fixed", "optimization.lr=[0.002]",
        "optimization.max_epoch=1", f"checkpoint.save_dir={tmp_path}/hydra",
    )  # fmt: skip
    cli, hydra = (inprocess.checkpoint(tmp_path / name) for name in ("cli", "hydra"))
    assert_same(cli["model"], hydra["model"])
    common = cli["cfg"]["common"]
    assert common["bf16"] and not common["tpu"]


# --- a teacher whose logits do not fit ---


@pytest.fixture
def loud(tmp_path, teacher):
    """A teacher whose parameters fit float16 and whose logits do not."""
    with toy.edited(teacher, tmp_path / "loud.pt") as state:
        head = "classification_heads.sentence_classification_head.out_proj"
        state["model"][f"{head}.weight"].mul_(6e4 / state["model"][f"{head}.weight"].abs().max())
        state["model"][f"{head}.bias"].fill_(6e4)
    return tmp_path / "loud.pt"


OVERFLOW = "--teacher-path: .* logits .* are not finite .*--teacher-dtype float16"


@pytest.mark.parametrize("student", [HALF, *slow([], ["--bf16"])], ids=str)
def test_a_teacher_that_overflows_is_named(tmp_path, classification, loud, student):
    """Not taken for a loss scale that is too high, nor for a student that diverges."""
    # kl: its gradients fit float16 whatever the teacher says
    flags = ["--teacher-path", loud, "--teacher-dtype", "float16", "--distill-distance", "kl"]
    flags += [*student, "--disable-validation"]
    with pytest.raises(ValueError) as error:
        toy.fit(classification, tmp_path / "s", *flags)
    assert_matches(OVERFLOW, str(error.value))
    assert not (tmp_path / "s" / "checkpoint_last.pt").exists()


def test_answers_asked_in_advance_are_named_by_example(tmp_path, classification, loud):
    flags = [*KD, "--teacher-path", loud, "--teacher-dtype", "float16", "--disable-validation"]
    with pytest.raises(ValueError, match=r"the logits of example \d+ of split 'train' are not fin"):
        toy.fit(classification, tmp_path / "s", *flags)


def test_a_wide_teacher_does_not_overflow(tmp_path, classification, loud):
    flags = ["--teacher-path", loud, "--teacher-dtype", "bfloat16", "--max-epoch", 1]
    log = toy.fit(classification, tmp_path / "s", *flags)
    assert math.isfinite(toy.last_values(log, "train")["tmkd_loss"])


@pytest.mark.slow
def test_every_process_says_that_the_teacher_overflows(tmp_path, classification, loud):
    flags = ["--teacher-path", loud, "--teacher-dtype", "float16", "--log-interval", 100]
    flags.append("--disable-validation")
    for said in refusals(tmp_path, classification, flags):
        assert_matches(OVERFLOW, said)


# --- on a GPU ---


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "flag, student, teachers",
    [
        ("--fp16", torch.float16, torch.float16),
        ("--memory-efficient-fp16", torch.float16, torch.float16),
        ("--amp", torch.float32, torch.float16),
        ("--bf16", torch.bfloat16, torch.bfloat16),
    ],
)
def test_losses_on_a_gpu_are_those_of_float32(
    tmp_path, classification, teacher, float32, flag, student, teachers
):
    flags = [*EVERYTHING, "--teacher-path", teacher, flag]
    flags = toy.train_flags(classification, tmp_path, *flags)
    flags.remove("--cpu")
    assert_losses_of_float32(flags, float32, student, teachers)


@pytest.mark.parametrize("student", [HALF, ["--bf16"]], ids=str)
def test_targets_of_a_regression_keep_their_precision(tmp_path, student):
    """300.7 is 300 in bfloat16, 2049.3 is 2050 in float16."""
    data = toy.make_data(tmp_path / "data", {"train": 9, "valid": 3}, targets=1)
    targets = [300.7, 2049.3, -0.1] * 3
    (data / "label" / "train.label").write_text("".join(f"{t}\n" for t in targets))
    seen = []

    def watch(trainer, batches):
        for batch in batches:
            prepared, _ = trainer._prepare_sample(batch)
            for part in (prepared, prepared["partner"]):
                gold = trainer.criterion._labels(part).targets.flatten()
                seen.extend(zip(part["id"].tolist(), gold.tolist()))
            assert gold.dtype == torch.float32

    flags = ["--num-classes", 1, "--regression-target", "--max-epoch", 1, "--tmkd-weight", 0]
    flags += ["--mle-weight", 1e-4, "--sm-weight", 1e-4, *student]  # lest gradients overflow
    toy.fit(data, tmp_path / "s", *flags, watcher=watch)
    assert len(seen) == 18
    for i, target in seen:
        assert target == pytest.approx(targets[i], rel=1e-6)
