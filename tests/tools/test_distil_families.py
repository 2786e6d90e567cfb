"""`distil` from classifiers of ten families of Hugging Face's, single texts and pairs."""

import json

import classifiers
import distilled
import pytest

pytestmark = pytest.mark.slow
IMPORTED = ("distilbert", "roberta", "xlm-roberta", "bert")
OTHERS = ("electra", "albert", "mpnet", "deberta", "deberta-v2", "modernbert")


@pytest.mark.parametrize("pairs, kind", [(i % 2 == 0, k) for i, k in enumerate(IMPORTED + OTHERS)])
def test_a_family(tmp_path, monkeypatch, transformers, kind, pairs):
    """The teacher's score is that of transformers to the last example; the student is served."""
    trained = distilled.train_here(monkeypatch)
    case = classifiers.make_case(
        tmp_path / "case", transformers, kind, names=["bad", "good"], pairs=pairs, sizes=(20, 30)
    )
    figures = distilled.distil(
        case, tmp_path / "out", "--recipe", "kd+hidden", "--updates", 2, "--layers", 1
    )
    assert trained == ["trial", "kd+hidden-1"]
    right = sum(said == ["bad", "good"][its] for said, its in zip(case.labels, case.answers))
    assert figures["teacher"] == pytest.approx(100 * right / len(case.labels), abs=1e-9)
    texts = [("soup cold", "the charming bowl")[: 1 + pairs], ("the",) * (1 + pairs)]
    distilled.served_equals_fairseq(tmp_path / "out", transformers, texts)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    own = json.loads((case.teacher / "config.json").read_text())
    as_it_was = (config["model_type"], config["architectures"]) == (kind, own["architectures"])
    assert as_it_was or kind in IMPORTED


@pytest.mark.parametrize("kind", ["bert", "electra"])
def test_unnamed_classes_get_the_names_of_the_data(tmp_path, monkeypatch, transformers, kind):
    """In the order of the outputs, also where transformers computes the teacher."""
    distilled.train_here(monkeypatch)
    said = ["very good", "bad"]
    case = classifiers.make_case(tmp_path / "case", transformers, kind, said=said, sizes=(20, 30))
    figures = distilled.distil(
        case, tmp_path / "out", "--recipe", "kd+hidden", "--updates", 2, "--layers", 1
    )
    right = sum(label == said[its] for label, its in zip(case.labels, case.answers))
    assert figures["teacher"] == pytest.approx(100 * right / len(case.labels), abs=1e-9)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "very good", "1": "bad"}
