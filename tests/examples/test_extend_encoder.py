"""examples/extend: the interface of its encoder, an example of what MixupModel promises."""

from argparse import Namespace

import pytest
import torch
from extending import import_theirs
from tiny_models import HEAD, LAM, PAD, PARTNERS, X, dictionary_with, rows

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.encode import logits_of


@pytest.fixture
def cnn():
    import_theirs()
    from my_mixkd.encoder import CNN, CNNConfig

    dictionary = dictionary_with(f"w{i}" for i in range(30))
    torch.manual_seed(0)
    config = CNNConfig(cnn_embed_dim=16, cnn_channels=8)
    model = CNN.build_model(config, Namespace(source_dictionary=dictionary))
    model.register_classification_head(HEAD, num_classes=3)
    return model.eval()


def mixed(model, lam=LAM, x=X, partners=PARTNERS, with_clean=False):
    return model(x, classification_head_name=HEAD, mix=Mix(partners, lam), with_clean=with_clean)[0]


def test_lam_one_is_the_clean_row_and_another_lam_another(cnn):
    clean, _ = cnn(X, classification_head_name=HEAD)
    shorter = rows(6, 5, 2, seed=3)
    torch.testing.assert_close(mixed(cnn, torch.ones(3), partners=shorter), clean)
    change = (mixed(cnn) - mixed(cnn, LAM + 0.05)).abs().amax(dim=1)
    assert (change > 1e-4).all()


def test_one_stacked_pass_equals_separate_passes(cnn):
    both = mixed(cnn, with_clean=True)
    torch.testing.assert_close(both[:3], cnn(X, classification_head_name=HEAD)[0])
    torch.testing.assert_close(both[3:], mixed(cnn))


def test_padding_changes_nothing(cnn):
    expected = mixed(cnn, with_clean=True)
    wider = [torch.nn.functional.pad(t, (0, 5), value=PAD) for t in (X, PARTNERS)]
    torch.testing.assert_close(mixed(cnn, x=wider[0], partners=wider[1], with_clean=True), expected)
    cnn.embed_tokens.weight.data[PAD] = 7.5
    assert torch.equal(mixed(cnn, with_clean=True), expected)


def test_gradient_reaches_the_embeddings_of_both_texts(cnn):
    cnn.requires_grad_(True)
    x, partner = torch.tensor([[0, 10, 2]]), torch.tensor([[0, 20, 21, 2]])
    mixed(cnn, torch.tensor([0.5]), x, partner).square().sum().backward()
    reached = cnn.embed_tokens.weight.grad.abs().sum(1) > 0
    assert reached.nonzero().ravel().tolist() == [0, 2, 10, 20, 21]


def test_as_a_teacher_it_says_the_same(cnn):
    mix = Mix(PARTNERS, LAM)
    assert torch.equal(logits_of(cnn, HEAD, X, mix, True), mixed(cnn, with_clean=True))
    assert torch.equal(logits_of(cnn, HEAD, X, mix._replace(with_clean=False), False), mixed(cnn))
