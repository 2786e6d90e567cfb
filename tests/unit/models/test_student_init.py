"""Initialising a student from a deeper checkpoint."""

from argparse import Namespace

import pytest
import torch
from fairseq.models.roberta import RobertaModel
from tiny_models import HEAD, build

from mixkd_plugin.checkpoints.outputs import StudentHead
from mixkd_plugin.fingerprints import fingerprint
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.models.student_init import initialise_student, select_layers


@pytest.mark.parametrize(
    "spec, deep, shallow, expected",
    [
        ("first", 12, 3, [0, 1, 2]),
        ("spaced", 12, 6, [0, 2, 4, 6, 8, 10]),
        ("spaced", 6, 3, [0, 2, 4]),
        ("spaced", 12, 12, list(range(12))),
        ("5,0,2", 6, 3, [5, 0, 2]),
        ("1,1", 2, 2, [1, 1]),
        (1, 2, 1, [1]),  # as YAML has them
        ("[0, 2]", 3, 2, [0, 2]),
    ],
)
def test_layers_are_those_of_the_spec(spec, deep, shallow, expected):
    assert select_layers(spec, deep, shallow) == expected


@pytest.mark.parametrize(
    "spec, message",
    [
        ("last", "--student-init-layers must be first, spaced, or positions .*, got 'last'"),
        ("0,6", "layer 6 does not exist, --student-init-path has layers 0 to 5"),
        ("0,-1", "layer -1 does not exist"),
        ("0,1,2", "3 layers for a student of 2"),
    ],
)
def test_layers_that_cannot_be_chosen_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        select_layers(spec, deep=6, shallow=2)


def test_a_shallower_checkpoint_is_refused():
    with pytest.raises(ValueError, match="at most the 2 layers of --student-init-path, got 3"):
        select_layers("first", deep=2, shallow=3)


def save(model, path, task_state=None, **args):
    state = {
        "args": Namespace(arch="roberta", task="masked_lm", data="", **args),
        "task_state": task_state or {},
        "model": model.state_dict(),
        "optimizer_history": [
            {"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}
        ],
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    torch.save(state, path)
    return str(path)


@pytest.fixture
def deep(tmp_path):
    model = build(RobertaModel, 0, encoder_layers=4)
    return model, save(model, tmp_path / "deep.pt")


def test_student_gets_embeddings_chosen_layers_and_the_head(deep):
    source, path = deep
    student = build(MixKDRobertaModel, 1, encoder_layers=2)
    initialise_student(student, path, "spaced")
    theirs = source.state_dict()
    for name, value in student.state_dict().items():
        origin = name.replace("layers.1.", "layers.2.")
        assert torch.equal(value, theirs[origin]), name


def test_a_head_of_another_shape_stays_the_students_own(deep, tmp_path):
    source, _ = deep
    source.register_classification_head(HEAD, num_classes=5)
    path = save(source, tmp_path / "five.pt")
    student = build(MixKDRobertaModel, 1, encoder_layers=2)
    before = {k: v.clone() for k, v in student.classification_heads.state_dict().items()}
    initialise_student(student, path, "first")
    after = student.classification_heads.state_dict()
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    layer = "encoder.sentence_encoder.layers.1.fc1.weight"
    assert torch.equal(student.state_dict()[layer], source.state_dict()[layer])


def test_a_narrower_checkpoint_is_refused(tmp_path):
    path = save(build(RobertaModel, 0), tmp_path / "narrow.pt")
    with pytest.raises(ValueError, match="--encoder-embed-dim must be at most 32, .*, got 64"):
        initialise_student(build(MixKDRobertaModel, 1, encoder_embed_dim=64), path, "first")


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match="--student-init-path: nowhere.pt does not exist"):
        initialise_student(build(MixKDRobertaModel, 1), "nowhere.pt", "first")
    with pytest.raises(ValueError, match="--student-init-path must be a checkpoint .*, got hf:A"):
        initialise_student(build(MixKDRobertaModel, 1), "hf:A", "first")


def test_a_head_of_another_activation_is_refused(tmp_path):
    """DistilBERT's has relu: the same weights would compute something else."""
    path = save(build(RobertaModel, 0), tmp_path / "relu.pt", pooler_activation_fn="relu")
    with pytest.raises(
        ValueError, match="--pooler-activation-fn must be relu, as in .*relu.pt, got tanh"
    ):
        initialise_student(build(MixKDRobertaModel, 1), path, "first")
    headless = build(RobertaModel, 0)
    del headless.classification_heads[HEAD]
    path = save(headless, tmp_path / "headless.pt", pooler_activation_fn="relu")
    initialise_student(build(MixKDRobertaModel, 1), path, "first")


@pytest.mark.parametrize(
    "flag, theirs, ours",
    [
        ("--encoder-attention-heads", 2, 4),
        ("--activation-fn", "relu", "gelu"),
        ("--encoder-normalize-before", True, False),
        ("--no-scale-embedding", False, True),
    ],
)
def test_weights_that_would_compute_something_else_are_refused(tmp_path, flag, theirs, ours):
    """All of them have the same shapes."""
    name = flag[2:].replace("-", "_")
    path = save(build(RobertaModel, 0), tmp_path / "deep.pt", **{name: theirs})
    student = build(MixKDRobertaModel, 1)
    setattr(student.args, name, ours)
    with pytest.raises(
        ValueError, match=f"{flag} must be {theirs}, as in --student-init-path .*, got {ours}"
    ):
        initialise_student(student, path, "first")
    setattr(student.args, name, theirs)
    initialise_student(student, path, "first")


def test_another_vocabulary_of_the_same_size_is_refused(tmp_path):
    source, student = build(RobertaModel, 0), build(MixKDRobertaModel, 1)
    known = fingerprint(student.encoder.dictionary, None)
    initialise_student(student, save(source, tmp_path / "a.pt", {"fingerprint": known}), "first")
    other = save(source, tmp_path / "b.pt", {"fingerprint": {"vocabulary": "0" * 64}})
    with pytest.raises(ValueError, match="--student-init-path .*b.pt: its vocabulary differs"):
        initialise_student(student, other, "first")


def test_a_tied_student_takes_the_embeddings_of_an_untied_checkpoint(tmp_path):
    source = build(RobertaModel, 0, untie_weights_roberta=True)
    words = source.encoder.sentence_encoder.embed_tokens.weight
    assert not torch.equal(words, source.encoder.lm_head.weight)
    student = build(MixKDRobertaModel, 1)
    initialise_student(student, save(source, tmp_path / "a.pt"), "first")
    assert student.encoder.lm_head.weight is student.encoder.sentence_encoder.embed_tokens.weight
    assert torch.equal(student.encoder.lm_head.weight, words)
    apart = build(MixKDRobertaModel, 1, untie_weights_roberta=True)
    initialise_student(apart, save(source, tmp_path / "a.pt"), "first")
    assert torch.equal(apart.encoder.lm_head.weight, source.encoder.lm_head.weight)


@pytest.mark.parametrize(
    "theirs, ours, order, rows",
    [
        ("abc", "abc", None, [0, 1, 2]),
        ("cab", "abc", None, [1, 2, 0]),
        ("ABC", "bac", None, [1, 0, 2]),
        ("xyz", "abc", "cab", [1, 2, 0]),  # --teacher-labels
        ("xyz", "012", None, [0, 1, 2]),  # numbers declare no order
        ("201", "012", None, [1, 2, 0]),  # but beside the same ones
        ("012", "012", "201", [1, 2, 0]),
        ("xyz", "012", "201", [1, 2, 0]),
        ("xyz", "abc", None, None),
        ("abcd", "abc", None, None),
        ("ba", "ab", None, None),  # an output without a name
        ("ab", "ab", None, [0, 1, 2]),
        (None, "abc", None, [0, 1, 2]),  # not known
        ("bac", None, None, [0, 1, 2]),  # a regression
    ],
)
def test_the_head_has_the_order_of_the_data(tmp_path, theirs, ours, order, rows):
    source, student = build(RobertaModel, 0), build(MixKDRobertaModel, 1)
    words = fingerprint(source.encoder.dictionary, None)["vocabulary"]
    theirs, ours, order = (names and [*names] for names in (theirs, ours, order))
    known = {"vocabulary": words, "labels": theirs}
    path = save(source, tmp_path / "a.pt", {"fingerprint": known} if theirs else None)
    (before, wanted) = (m.classification_heads[HEAD] for m in (student, source))
    own = {name: value.clone() for name, value in before.state_dict().items()}
    initialise_student(student, path, "first", StudentHead(HEAD, ours, order))
    after, wanted = student.classification_heads[HEAD].state_dict(), wanted.state_dict()
    if rows is None:
        wanted = own
    else:
        for name in ("out_proj.weight", "out_proj.bias"):
            wanted[name] = wanted[name][rows]
    torch.testing.assert_close(after, wanted, rtol=0, atol=0)


def test_what_yaml_makes_of_on_is_refused():
    with pytest.raises(ValueError, match=r"--padding-free must be one of on, off \(quoted in YAML"):
        build(MixKDRobertaModel, 0, padding_free=True)


def with_words(model, names):
    """Give a model's symbols other names, in place."""
    dictionary = model.encoder.dictionary
    special = dictionary.symbols[: dictionary.nspecial]
    dictionary.symbols[:] = [*special, *names, "<mask>"][: len(dictionary)]
    dictionary.indices.clear()
    dictionary.indices.update({s: i for i, s in enumerate(dictionary.symbols)})
    return model


NAMES = [f"w{i}" for i in range(29)]  # and <mask>, as fairseq's tasks add it


def larger(tmp_path, names=NAMES, recorded=None):
    """A checkpoint with a dict.txt beside it."""
    source = with_words(build(RobertaModel, 0, encoder_layers=4), names)
    torch.nn.init.normal_(source.encoder.lm_head.bias)
    (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in names))
    known = {} if recorded is None else {"fingerprint": {"vocabulary": recorded}}
    return source, save(source, tmp_path / "deep.pt", known)


@pytest.mark.parametrize("record", [False, True])
def test_a_smaller_vocabulary_gets_the_rows_of_its_symbols(tmp_path, record, caplog):
    names = ["w20", "w3", "w5", "w28"]
    source, path = larger(tmp_path)
    if record:
        known = fingerprint(source.encoder.dictionary, None)["vocabulary"]
        source, path = larger(tmp_path, recorded=known)
    student = with_words(build(MixKDRobertaModel, 1, encoder_layers=2, words=5), names)
    caplog.set_level("INFO")
    initialise_student(student, path, "spaced")
    rows = [source.encoder.dictionary.indices[s] for s in student.encoder.dictionary.symbols]
    assert rows[4:] == [4 + 20, 4 + 3, 4 + 5, 4 + 28, 4 + 29]
    theirs = source.state_dict()
    for name, value in student.state_dict().items():
        wanted = theirs[name.replace("layers.1.", "layers.2.")]
        by_symbol = "embed_tokens" in name or name in (
            "encoder.lm_head.weight",
            "encoder.lm_head.bias",
        )
        assert torch.equal(value, wanted[rows] if by_symbol else wanted), name
    assert "9 of its 34 symbols" in caplog.text
    assert student.encoder.lm_head.weight is student.encoder.sentence_encoder.embed_tokens.weight


def test_symbols_that_the_source_lacks_are_refused(tmp_path):
    _, path = larger(tmp_path)
    student = with_words(build(MixKDRobertaModel, 1, words=5), ["w1", "novel", "new", "w2"])
    with pytest.raises(ValueError, match="--student-init-path .*lacks 2 of 9, such as 'novel'"):
        initialise_student(student, path, "first")


def test_a_dictionary_of_another_model_is_not_used(tmp_path):
    """A digest is recorded, or its length differs."""
    student = with_words(build(MixKDRobertaModel, 1, words=5), NAMES[:4])
    _, path = larger(tmp_path, recorded="0" * 64)
    with pytest.raises(ValueError, match="--student-init-path .*its vocabulary"):
        initialise_student(student, path, "first")
    _, path = larger(tmp_path)
    (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in NAMES[:20]))
    with pytest.raises(ValueError, match=r"is \(34, 32\), its dictionary has 25 symbols"):
        initialise_student(student, path, "first")


def test_a_narrower_student_may_have_a_smaller_vocabulary(tmp_path):
    names = ["w20", "w3", "w5", "w28"]
    source, path = larger(tmp_path)
    settings = {"encoder_layers": 2, "words": 5, "encoder_embed_dim": 24}
    student = with_words(build(MixKDRobertaModel, 1, **settings), names)
    initialise_student(student, path, "spaced")
    rows = [source.encoder.dictionary.indices[s] for s in student.encoder.dictionary.symbols]
    assert torch.equal(student.encoder.lm_head.bias, source.encoder.lm_head.bias[rows])
    wide = source.encoder.sentence_encoder.embed_tokens.weight[rows]
    narrow = student.encoder.sentence_encoder.embed_tokens.weight
    error = (narrow @ narrow.T - wide @ wide.T).norm() / (wide @ wide.T).norm()
    assert error < 0.2  # of all products of two symbols
