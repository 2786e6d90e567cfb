"""A fine-tuned Hugging Face classifier is a teacher as it is: imported, encoded for, distilled."""

import re

import hf_models
import pytest
import toy
from classifiers import logits_of
from encode_files import write_glue

from mixkd_plugin.tools.encode.encode import encode
from mixkd_plugin.tools.encode.sources import glue_source
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

pytestmark = pytest.mark.slow


def fine_tuned(tmp_path, transformers, kind):
    """An imported classifier, and its accuracy on GLUE files that are written for it."""
    hf_models.make(kind, tmp_path / "hf", transformers)
    texts = [(text,) for text in hf_models.TEXTS]
    predicted = logits_of(tmp_path / "hf", texts, transformers).argmax(dim=1).tolist()
    gold = [1 - p if i % 3 == 0 else p for i, p in enumerate(predicted)]
    accuracy = 100 * sum(p == g for p, g in zip(predicted, gold)) / len(gold)
    assert 50 < accuracy < 75
    rows = [(text, str(label)) for text, label in zip(hf_models.TEXTS, gold)]
    write_glue(tmp_path / "glue", ["sentence", "label"], rows)
    imported = import_encoder(str(tmp_path / "hf"), str(tmp_path / "teacher"))
    return imported, accuracy


def distil(tmp_path, flags, *more, check=True):
    return toy.train(
        tmp_path / "data", tmp_path / "student", *flags.split(), "--no-save", "--max-epoch", 2,
        "--mle-weight", 0, "--kd-weight", 1, "--sm-weight", 0, "--tmkd-weight", 1, *more,
        check=check,
    ).stdout  # fmt: skip


def logged_accuracies(log):
    return [float(v) for v in re.findall(r"valid \| .* teacher_accuracy ([\d.]+)", log)]


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "xlm-roberta"])
def test_the_teachers_accuracy_in_training_is_that_of_transformers(tmp_path, transformers, kind):
    imported, accuracy = fine_tuned(tmp_path, transformers, kind)
    source = glue_source(str(tmp_path / "glue"), "SST-2")
    flags = encode(source, imported.tokenizer, str(tmp_path / "data"))
    log = distil(tmp_path, flags, "--teacher-path", tmp_path / "teacher" / "model.pt")
    assert logged_accuracies(log) == [round(accuracy, 1)] * 2, log

    wrong = tmp_path / "wrong"  # the classes in another order
    import_encoder(str(tmp_path / "hf"), str(wrong), labels=["1", "0"])
    log = distil(tmp_path, flags, "--teacher-path", wrong / "model.pt", check=False)
    assert re.search(r"model.pt: its labels .* has \['1', '0'\], here \['0', '1'\]", log), log


def test_its_student_may_have_another_vocabulary(tmp_path, transformers):
    """A WordPiece classifier of Hugging Face's teaches a student with XLM-R's sentencepiece."""
    imported, accuracy = fine_tuned(tmp_path, transformers, "distilbert")
    hf_models.make("xlm-roberta", tmp_path / "xlm-r", transformers, head="")
    theirs = import_encoder(str(tmp_path / "xlm-r"), str(tmp_path / "encoder")).tokenizer
    source = glue_source(str(tmp_path / "glue"), "SST-2")
    encode(source, imported.tokenizer, str(tmp_path / "teacher_data"))
    flags = encode(source, theirs, str(tmp_path / "data"))
    teacher = ["--teacher-path", tmp_path / "teacher" / "model.pt"]
    log = distil(tmp_path, flags, *teacher, "--teacher-data", tmp_path / "teacher_data")
    assert logged_accuracies(log) == [round(accuracy, 1)] * 2, log
