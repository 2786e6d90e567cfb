"""What an export may lose: logits by a bound, and few texts their class."""

import pytest
import torch

from mixkd_plugin.tools.export.parity import check_parity


def turned(wanted, count):
    """Logits of which so many texts have another class, by a difference that int8 is allowed."""
    found = wanted.clone()
    found[:count] = found[:count].flip(1)
    return found


@pytest.fixture
def near():
    """Texts of small margins beside one that makes the range large."""
    wanted = torch.tensor([[0.2, -0.2]]).repeat(100, 1)
    wanted[-1] = torch.tensor([5.0, -5.0])
    return wanted


@pytest.mark.parametrize("count, passes", [(0, True), (5, True), (6, False), (27, False)])
def test_int8_keeps_the_class_of_19_texts_in_20(near, count, passes):
    arguments = near, turned(near, count), "onnx-int8", None, True
    if passes:
        assert check_parity(*arguments).agreement == pytest.approx(1 - count / 100)
    else:
        with pytest.raises(ValueError, match=rf"--min-agreement .*{1 - count / 100}.* 0.95"):
            check_parity(*arguments)
        assert check_parity(*arguments, min_agreement=0.7).agreement < 0.95


@pytest.mark.parametrize("texts, turn, passes", [(8, 1, True), (8, 2, False), (7, 1, False)])
def test_of_a_few_texts_one_may_turn(near, texts, turn, passes):
    few = torch.cat([near[: texts - 1], near[-1:]])
    if passes:
        check_parity(few, turned(few, turn), "onnx-int8", None, True)
    else:
        with pytest.raises(ValueError, match="--min-agreement"):
            check_parity(few, turned(few, turn), "onnx-int8", None, True)
        check_parity(few, turned(few, turn), "onnx-int8", None, True, min_agreement=0.7)


@pytest.mark.parametrize("to", ["hf", "onnx"])
def test_formats_with_float_weights_keep_99_in_100(near, to):
    with pytest.raises(ValueError, match="--min-agreement .* 0.99"):
        check_parity(near, turned(near, 2), to, 1.0, True)


def test_level_classes_may_change_places():
    wanted = torch.tensor([[1.0, 1.0 + 5e-5], [0.3, 0.3]])
    assert check_parity(wanted, wanted.flip(1), "hf", None, True).agreement == 1


def test_of_a_regression_the_correlation_counts():
    wanted = torch.linspace(0, 1, 20)[:, None] ** 8
    noise = 0.19 * torch.tensor([1.0, -1.0]).repeat(10)[:, None]
    with pytest.raises(ValueError, match="--min-agreement .*correlation"):
        check_parity(wanted, wanted + noise, "onnx-int8", None, False)
    check_parity(wanted, wanted + noise, "onnx-int8", None, False, min_agreement=0.5)
    check_parity(wanted, wanted + noise / 4, "onnx-int8", None, False)
    for few in (wanted[:2], torch.ones(9, 1)):
        assert check_parity(few, few + 1e-5, "hf", None, False).texts == len(few)


@pytest.mark.parametrize("to", ["hf", "onnx"])
@pytest.mark.parametrize("size", [0.5, 3, 1500])
def test_the_bound_of_a_regression_grows_with_its_numbers(to, size):
    """Not that of classes, nor one that is given."""
    wanted = torch.linspace(-size, size / 2, 9, dtype=torch.double)[:, None]
    bound = 1e-4 * max(1, size)
    assert check_parity(wanted, wanted + 0.9 * bound, to, None, False).bound == pytest.approx(bound)
    with pytest.raises(ValueError, match="--tolerance must be"):
        check_parity(wanted, wanted + 1.1 * bound, to, None, False)
    for tolerance, classes in ((1e-4, False), (None, True)):
        with pytest.raises(ValueError, match="--tolerance must be"):
            check_parity(wanted, wanted + 1.1e-4, to, tolerance, classes)
