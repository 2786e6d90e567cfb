"""What a run begins from fits it, or is refused before training with the flag and the value."""

import inprocess
import pytest
import toy
from refusals import FINE_TUNE, KD, accepts, refusal
from taught import turn_symbols


@pytest.fixture(scope="module")
def run(tmp_path_factory, classification):
    folder = tmp_path_factory.mktemp("run")
    toy.fit(classification, folder, *FINE_TUNE, "--max-update", 3)
    return folder


@pytest.fixture
def folder(tmp_path, run):
    return toy.copy_data(run, tmp_path / "run")


BEGINNINGS = ["--restore-file", "--continue-once", "--finetune-from-model"]


@pytest.mark.parametrize("flag", BEGINNINGS)
def test_a_file_that_is_not_there(tmp_path, classification, flag):
    """fairseq trains from the beginning."""
    text = refusal(classification, tmp_path, *FINE_TUNE, flag, tmp_path / "typo.pt")
    assert text.startswith(f"{flag} must be a checkpoint, got {tmp_path / 'typo.pt'}, which does")


@pytest.mark.parametrize("flag", BEGINNINGS)
def test_two_beginnings(tmp_path, run, classification, flag):
    """The second is silently the one."""
    last = run / "checkpoint_last.pt"
    flags = [*FINE_TUNE, "--student-init-path", last, flag, last]
    text = refusal(classification, tmp_path, *flags)
    assert text.startswith(f"--student-init-path {last} must be given without {flag}")


@pytest.mark.parametrize(
    "flags, there, here",
    [
        (["--optimizer", "sgd"], "--optimizer is adam", "sgd"),
        (["--lr-scheduler", "reduce_lr_on_plateau"], "--lr-scheduler is fixed", "reduce_lr_on"),
        (["--encoder-embed-dim", 64], "--encoder-embed-dim is 32", "64"),
        (["--encoder-layers", 3], "--encoder-layers is 2", "3"),
        (["--bf16"], "--bf16 is False", "True"),
    ],
)
def test_other_flags_than_the_checkpoints(folder, classification, flags, there, here):
    text = refusal(classification, folder, *FINE_TUNE, *flags)
    assert text.startswith(f"--save-dir: {folder / 'checkpoint_last.pt'} does not fit this run")
    assert f"{there} there and {here}" in text
    reset = ["--reset-optimizer", "--reset-lr-scheduler"]
    if "encoder" not in there:
        accepts(classification, folder, *FINE_TUNE, *flags, *reset)


@pytest.mark.parametrize(
    "flag, there, here, a_new_run_may",
    [
        ("--encoder-attention-heads", 4, 2, False),
        ("--activation-fn", "gelu", "relu", False),
        ("--layer-norm-eps", 1e-05, 0.001, False),
        ("--token-types", 1, 2, False),
        ("--pooler-activation-fn", "tanh", "relu", True),
        ("--classification-head-name", "sentence_classification_head", "other", True),
        ("--init-token", 0, 2, True),
        ("--separator-token", None, 2, True),
    ],
)
def test_equal_shapes_that_would_compute_otherwise(
    tmp_path, folder, classification, flag, there, here, a_new_run_may
):
    """fairseq loads the weights, and goes on from an untrained head or another function."""
    last = folder / "checkpoint_last.pt"
    text = refusal(classification, folder, *FINE_TUNE, flag, here)
    assert text.startswith(f"{flag} must be {there}, with which {last} (--save-dir) was trained")
    new = [*FINE_TUNE, flag, here, "--finetune-from-model", last]
    if a_new_run_may:
        accepts(classification, tmp_path / "new", *new)
    else:
        text = refusal(classification, tmp_path / "new", *new)
        assert text.startswith(f"{flag} must be {there}, with which {last} (--finetune")


def test_a_regression_of_other_targets(tmp_path):
    data = toy.make_data(tmp_path / "data", {"train": 20, "valid": 8}, targets=2)
    flags = [*FINE_TUNE, "--regression-target", "--num-classes", 2]
    toy.fit(data, tmp_path / "run", *flags, "--max-epoch", 1)
    data = toy.make_data(tmp_path / "one", {"train": 20, "valid": 8}, targets=1)
    flags[-1] = 1
    text = refusal(data, tmp_path / "run", *flags)
    assert text.startswith("--num-classes must be 2, with which")


@pytest.mark.parametrize(
    "where, value",
    [
        ("cfg", 3),
        ("cfg model layer_norm_eps", "x"),
        ("cfg model token_types", 3),
        ("cfg model encoder_attention_heads", "x\ny"),
        ("task_state fingerprint", 3),
        ("task_state fingerprint", {}),
        ("task_state fingerprint labels", 7),
    ],
)
def test_contents_that_no_run_writes(tmp_path, run, classification, where, value):
    with toy.edited(run / "checkpoint_last.pt", tmp_path / "x.pt") as state:
        *path, last = where.split()
        part = state
        for name in path:
            part = part[name] if isinstance(part, dict) else vars(part)[name]
        (part if isinstance(part, dict) else vars(part))[last] = value
    flags = [*FINE_TUNE, "--finetune-from-model", tmp_path / "x.pt"]
    assert str(tmp_path / "x.pt") in refusal(classification, tmp_path / "new", *flags)


@pytest.mark.parametrize("flag", ["--init-token", "--separator-token"])
@pytest.mark.parametrize("index", [45, -1])
def test_a_symbol_that_no_dictionary_has(tmp_path, classification, flag, index):
    text = refusal(classification, tmp_path, *FINE_TUNE, flag, index)
    assert text == f"{flag} must be an index of the dictionary, 0 to 44, got {index}"


def test_a_folder_is_no_checkpoint(tmp_path, folder, classification):
    text = refusal(classification, tmp_path / "new", *FINE_TUNE, "--restore-file", folder)
    assert text.startswith(f"--restore-file: {folder} is a folder")


LABELS = "was trained with the labels 0, 1, the data folder has 1, 0:"
VOCABULARY = "was trained on another vocabulary"


@pytest.mark.parametrize(
    "name, flag, message",
    [
        ("label", "--save-dir", LABELS),
        ("label", "--restore-file", LABELS),
        ("input0", "--save-dir", VOCABULARY),
        ("input0", "--restore-file", VOCABULARY),
        ("input0", "--finetune-from-model", VOCABULARY),
    ],
)
def test_other_labels_or_another_vocabulary(tmp_path, folder, data, name, flag, message):
    turn_symbols(data, name)
    last = folder / "checkpoint_last.pt"
    if flag == "--save-dir":
        text = refusal(data, folder, *FINE_TUNE)
    else:
        text = refusal(data, tmp_path / "other", *FINE_TUNE, flag, last)
    assert text.startswith(f"{flag}: {last} {message}")


@pytest.mark.parametrize(
    "flags",
    [["--finetune-from-model"], ["--reset-optimizer", "--reset-dataloader", "--restore-file"]],
    ids=["finetune", "reset"],
)
def test_a_new_run_may_have_other_labels(tmp_path, run, data, flags):
    turn_symbols(data, "label")
    flags = [*FINE_TUNE, *flags, run / "checkpoint_last.pt", "--max-update", 4]
    log = toy.fit(data, tmp_path / "new", *flags)
    (warning,) = [line for line in log.splitlines() if line.startswith("WARNING | mixkd")]
    assert "was trained with the labels 0, 1, the data folder has 1, 0" in warning


def test_regression_is_no_classification(tmp_path, folder, regression):
    flags = [*FINE_TUNE, "--regression-target", "--num-classes", 1]
    assert "the labels 0, 1, the data folder has of a reg" in refusal(regression, folder, *flags)


@pytest.mark.parametrize("flag", ["--restore-file", "--finetune-from-model"])
def test_a_file_with_arguments_alone(tmp_path, run, classification, flag):
    """As fairseq wrote before 0.11, and import_hf does; its epsilon comes with its weights."""
    with toy.edited(run / "checkpoint_last.pt", tmp_path / "old.pt") as state:
        state["args"], state["cfg"] = state["cfg"]["model"], None
        state["args"].layer_norm_eps = 1e-12
    flags = [*FINE_TUNE, "--max-update", 1, flag, tmp_path / "old.pt"]
    if flag == "--restore-file":
        flags += ["--reset-optimizer", "--reset-dataloader", "--reset-meters"]
        flags += ["--reset-lr-scheduler"]
    toy.fit(classification, tmp_path / "new", *flags)
    assert inprocess.checkpoint(tmp_path / "new")["cfg"]["model"].layer_norm_eps == 1e-12


def test_a_narrower_student_is_trained_and_resumed(tmp_path, classification, teacher):
    flags = [*KD, "--teacher-path", teacher, "--student-init-path", teacher, "--max-update", 3]
    flags += ["--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 32]
    flags = toy.train_flags(classification, tmp_path, *flags)
    assert "student narrowed from 32 to 16" in inprocess.run_training(flags)
    student = inprocess.checkpoint(tmp_path)["model"]
    assert student["encoder.sentence_encoder.layers.1.fc1.weight"].shape == (32, 16)
    log = inprocess.run_training([*flags, "--max-update", 4])
    assert "narrowed" not in log and "Loaded checkpoint" in log
