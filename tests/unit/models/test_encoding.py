"""The seam: student and teacher on mixed rows, through fairseq's own encoder."""

import pytest
import torch
from fairseq.models.roberta import RobertaModel
from tiny_models import HEAD, LAM, PAD, PARTNERS, X, build, rows

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.encode import encode
from mixkd_plugin.models.mixkd_roberta import MixKDRobertaModel
from mixkd_plugin.teacher.ensemble import TeacherEnsemble


@pytest.fixture(params=[False, True], ids=["post-LN", "pre-LN"])
def student(request):
    settings = {"encoder_normalize_before": request.param}
    return build(MixKDRobertaModel, 0, **settings)


def mixed(model, lam=LAM, x=X, partners=PARTNERS, with_clean=False):
    return encode(model, HEAD, x, Mix(partners, lam, with_clean), padding_free=False)


def test_one_stacked_pass_equals_separate_passes(student):
    both = mixed(student, with_clean=True)
    clean, _ = student(X, classification_head_name=HEAD)
    torch.testing.assert_close(both[:3], clean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both[3:], mixed(student), rtol=1e-5, atol=1e-6)
    one_by_one = [
        mixed(student, LAM[m : m + 1], X[m % 3 : m % 3 + 1], PARTNERS[m : m + 1]) for m in range(6)
    ]
    torch.testing.assert_close(both[3:], torch.cat(one_by_one), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", [MixKDRobertaModel, RobertaModel], ids=["student", "teacher"])
def test_changing_lam_changes_the_logits_of_every_mixed_row(cls):
    model = build(cls, 1)
    change = (mixed(model) - mixed(model, LAM + 0.05)).abs().amax(dim=1)
    assert (change > 1e-4).all()


def test_lam_one_with_a_partner_no_longer_is_the_clean_row(student):
    partners = rows(6, 5, 2, seed=3)
    clean, _ = student(X, classification_head_name=HEAD)
    torch.testing.assert_close(
        mixed(student, torch.ones(3), partners=partners), clean, rtol=1e-5, atol=1e-6
    )


def test_example_and_partner_can_change_places(student):
    a, b, lam = X, PARTNERS[:3], LAM[:3]
    torch.testing.assert_close(
        mixed(student, lam, a, b), mixed(student, 1 - lam, b, a), rtol=1e-5, atol=1e-6
    )


def test_more_padding_changes_nothing(student):
    wider = [torch.nn.functional.pad(t, (0, 5), value=PAD) for t in (X, PARTNERS)]
    torch.testing.assert_close(
        mixed(student, x=wider[0], partners=wider[1]), mixed(student), rtol=1e-5, atol=1e-6
    )


def test_the_pad_symbols_embedding_changes_nothing():
    zero, other = (build(MixKDRobertaModel, 0, pad_row=row) for row in (0.0, 7.5))
    assert torch.equal(mixed(zero, with_clean=True), mixed(other, with_clean=True))


def test_gradient_reaches_the_embeddings_of_both_texts(student):
    x, partner = torch.tensor([[0, 10, 2]]), torch.tensor([[0, 20, 21, 2]])
    mixed(student, torch.tensor([0.5]), x, partner).square().sum().backward()
    reached = student.encoder.sentence_encoder.embed_tokens.weight.grad.abs().sum(1) > 0
    assert reached.nonzero().ravel().tolist() == [0, 2, 10, 20, 21]


@pytest.mark.parametrize("padding_free", ["on", "off"])
def test_forward_is_the_seam(student, padding_free):
    student.args.padding_free = padding_free
    mix = Mix(PARTNERS, LAM)
    logits, _ = student(X, classification_head_name=HEAD, mix=mix)
    assert torch.equal(logits, encode(student, HEAD, X, mix, padding_free == "on"))


def test_forward_without_a_mix_is_fairseqs_own_to_the_last_bit(student):
    student.args.padding_free = "off"
    plain = build(RobertaModel, 0, encoder_normalize_before=student.args.encoder_normalize_before)
    plain.load_state_dict(student.state_dict())
    theirs, _ = plain(X, classification_head_name=HEAD)
    assert torch.equal(student(X, classification_head_name=HEAD)[0], theirs)


def test_teacher_is_the_weighted_mean_of_its_frozen_models():
    models = [build(RobertaModel, seed).train() for seed in (1, 2)]
    teacher = TeacherEnsemble(models, [0.7, 0.3], HEAD, padding_free=False)
    mix = Mix(PARTNERS, LAM)
    expected = 0.7 * encode(models[0], HEAD, X, mix, False)
    expected = expected + 0.3 * encode(models[1], HEAD, X, mix, False)
    logits = teacher.logits(X, mix)
    torch.testing.assert_close(logits, expected)
    assert torch.equal(logits, teacher.logits(X, mix))  # no dropout
    assert not logits.requires_grad
    assert all(not m.training and not p.requires_grad for m in models for p in m.parameters())


class Tripled(MixKDRobertaModel):
    def forward(self, *args, **kwargs):
        logits, extra = super().forward(*args, **kwargs)
        return 3 * logits, extra


@pytest.mark.parametrize("padding_free", [False, True])
@pytest.mark.parametrize("mix", [None, Mix(PARTNERS, LAM), Mix(PARTNERS, LAM, with_clean=False)])
def test_a_teachers_own_forward_counts(mix, padding_free):
    plain, tripled = (
        TeacherEnsemble([build(cls, 1)], [1.0], HEAD, padding_free)
        for cls in (MixKDRobertaModel, Tripled)
    )
    states, others = [], []
    expected = 3 * plain.logits(X, mix)
    assert torch.equal(tripled.logits(X, mix), expected)
    torch.testing.assert_close(tripled.logits(X, mix, states), 3 * plain.logits(X, mix, others))
    assert len(states) == 2 and all(map(torch.equal, states, others))
    fairseqs = TeacherEnsemble([build(RobertaModel, 1)], [1.0], HEAD, padding_free)
    assert torch.equal(plain.logits(X, mix), fairseqs.logits(X, mix))


def test_student_and_teacher_mix_each_their_own_embeddings():
    """Rows that agree in the teacher's embeddings but not the student's, and the reverse."""
    student, teacher = build(MixKDRobertaModel, 0), build(RobertaModel, 1)
    x, partner, lam = torch.tensor([[0, 10, 2]]), torch.tensor([[0, 20, 2]]), torch.tensor([0.5])
    twin = torch.tensor([[0, 21, 2]])
    weights = teacher.encoder.sentence_encoder.embed_tokens.weight.data
    weights[21] = weights[20]
    assert torch.equal(mixed(teacher, lam, x, partner), mixed(teacher, lam, x, twin))
    assert not torch.allclose(mixed(student, lam, x, partner), mixed(student, lam, x, twin))


def test_the_teachers_type_is_its_own_under_autocast():
    """fairseq's --amp: what is answered in a step equals what is answered before the epoch."""
    teacher = TeacherEnsemble([build(RobertaModel, 1)], [1.0], HEAD, padding_free=True)
    expected = teacher.logits(X, Mix(PARTNERS, LAM))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(teacher.logits(X, Mix(PARTNERS, LAM)), expected)


SPLICED = {"all": True, "some": torch.tensor([True, False, True, False, False, True])}


@pytest.mark.parametrize("padding_free", [False, True])
@pytest.mark.parametrize("with_clean", [False, True])
@pytest.mark.parametrize("is_text", SPLICED.values(), ids=SPLICED)
def test_a_mix_that_is_a_text_is_encoded_as_one(student, is_text, with_clean, padding_free):
    """Beside interpolations, and alone."""
    mix = Mix(PARTNERS, LAM, with_clean, is_text, PAD)
    tokens, of_model = mix.model_input(X)
    found = mix.split_logits(encode(student, HEAD, tokens, of_model, padding_free))
    texts, _ = student(PARTNERS, classification_head_name=HEAD)
    expected = torch.where(torch.as_tensor(is_text).view(-1, 1), texts, mixed(student))
    torch.testing.assert_close(found[1], expected, rtol=1e-5, atol=1e-6)
    if with_clean:
        clean, _ = student(X, classification_head_name=HEAD)
        torch.testing.assert_close(found[0], clean, rtol=1e-5, atol=1e-6)
    else:
        assert found[0] is None


def test_a_teacher_reads_mixes_that_are_texts():
    teacher = TeacherEnsemble([build(RobertaModel, 1)], [1.0], HEAD, padding_free=True)
    found = teacher.logits(X, Mix(PARTNERS, LAM, True, True, PAD))
    expected = torch.cat([teacher.logits(X), teacher.logits(PARTNERS)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
