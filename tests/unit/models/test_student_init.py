"""Initialising a student from a deeper checkpoint."""

import pytest
import torch
from fairseq.models.roberta import RobertaModel
from tiny_models import HEAD, build, save

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
        ("aAB", "Aab", None, [1, 0, 2]),  # a name wins over one of another case
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
