"""The model of many GPUs: SCALING.md shows what the script prints; the formulas at known points."""

import sys

import pytest
from toy import ROOT

FOLDER = ROOT / "examples" / "multi_node"
sys.path.insert(0, str(FOLDER))

import scaling  # noqa: E402
import scaling_model as model  # noqa: E402

DOCUMENT = (FOLDER / "SCALING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("title", scaling.TABLES)
def test_the_document_shows_the_table_that_the_script_prints(title):
    section = DOCUMENT.split(f"## {title}\n")[1].split("\n## ")[0]
    assert f"\n{scaling.TABLES[title]()}\n" in section


def test_an_all_reduce_of_two_sends_the_bytes_once_and_hops_twice():
    over = model.Link(bandwidth=100.0, hop=3.0)
    assert model.all_reduce(1000, 1, over) == 0
    assert model.all_reduce(1000, 2, over) == 1000 / 100 + 2 * 3
    assert model.all_reduce(1e9, 512, over) == pytest.approx(2 * 1e9 / 100, rel=0.01)
    assert model.all_reduce(0, 512, over) == 2 * 9 * 3  # a tree


def test_what_the_backward_pass_hides():
    over = model.Link(bandwidth=100.0, hop=0.0)
    sent_late = 1000 / 100  # the embedding's, whatever the window
    assert model.exposed([500, 500, 1000], 1e6, 2, over) == pytest.approx(500 / 100 + sent_late)
    assert model.exposed([500, 500, 1000], 0, 2, over) == pytest.approx(2000 / 100)
    assert model.ddp_buckets(2.5 * model.BUCKET, 7) == [model.BUCKET] * 2 + [0.5 * model.BUCKET, 7]


def test_sharding_the_states_leaves_weights_gradients_and_teacher():
    for_one, for_many = (model.memory("roberta-large", "rte", n) for n in (1, 512))
    assert for_one["`--fp16`"] == for_many["`--fp16`"]
    flags = "the same, `--zero-sharding os`"
    students = model.COUNTED["roberta-large"]["student_parameters"]
    assert for_one[flags] - for_many[flags] == pytest.approx(8 * students * 511 / 512)
    assert for_one[flags] == pytest.approx(for_one["`--memory-efficient-fp16`"])
