"""The plan of `distil`: budget, precision, recipes, and how it is given again."""

import pytest
import torch
import yaml
from distilled import flags

from mixkd_plugin.tools.distil import build_parser
from mixkd_plugin.tools.distil.plan import (
    Plan,
    fastest_precision,
    fit_budget,
    kept_precision,
    seconds_of_product,
)
from mixkd_plugin.tools.distil.plan_file import apply_plan, save_plan
from mixkd_plugin.tools.distil.training import best_score


def planned(narrower=False, **given):
    names = {"recipe": "auto", "fine_tuned_too": False, "trim_vocabulary": False, "batch_size": 32}
    return Plan({**names, "seeds": 2, "layers": 3, "updates": 1000, **given}, {}, 800, narrower)


def test_a_budget_lowers_the_updates_and_validations_take_a_fifth_of_the_time_at_most():
    plan, args = planned(), flags(minutes=20)
    assert fit_budget(planned(), flags(), None, 1.0) == pytest.approx(4 * (1000 + 100 + 12) / 60)
    assert plan.points(1000) == 10 and plan.points(100) == 2 and plan.points(20) == 1
    assert 19 < fit_budget(plan, args, None, 1.0) <= 20 and 200 < plan.updates < 300
    with pytest.raises(ValueError, match="--minutes must be at least 2.8 for 4 runs, got 1"):
        fit_budget(planned(), flags(minutes=1), None, 1.0)


@pytest.mark.parametrize("bf16, precision", [(0.4, "bf16"), (0.9, "fp32"), (5, "fp32")])
def test_precision_of_a_cpu(monkeypatch, bf16, precision):
    seconds = {torch.float32: 1, torch.bfloat16: bf16}
    monkeypatch.setattr("mixkd_plugin.tools.distil.plan.seconds_of_product", seconds.get)
    assert fastest_precision() == precision


def test_the_precision_of_a_cpu_is_measured_once_for_a_distillation(tmp_path, monkeypatch):
    found = iter(["bf16", "fp32"])
    monkeypatch.setattr("mixkd_plugin.tools.distil.plan.fastest_precision", lambda: next(found))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    assert [kept_precision(gpu, tmp_path) for gpu in (False, False, True)] == [
        "bf16",
        "bf16",
        "fp16",
    ]


def test_a_product_is_measured():
    assert 0 < seconds_of_product(torch.float32) < 10


def test_recipes_are_one_or_several():
    assert planned(recipe="auto").recipes == ["splice", "kd+hidden"]
    assert planned(recipe="auto", trim_vocabulary=True).recipes == ["mixkd", "kd"]
    assert planned(recipe="auto", narrower=True).recipes == ["splice", "kd"]
    assert planned(recipe="kd,splice", fine_tuned_too=True).recipes == ["kd", "splice", "ft"]
    assert planned(recipe="ft", fine_tuned_too=True).recipes == ["ft"]
    for wrong in ("kd,kd", "auto,kd", "other", ""):
        with pytest.raises(SystemExit, match="2"):
            build_parser().parse_args(["--out", "x", "--recipe", wrong])


def test_a_plan_gives_the_flags_that_are_not_given(tmp_path):
    given = flags(train=str(tmp_path / "t.csv"), teacher="hub/name", lr=0.1, seed=3, minutes=5)
    save_plan(planned(), given, tmp_path / "plan.yaml")
    again = flags(plan=str(tmp_path / "plan.yaml"), lr=0.2)
    apply_plan(again)
    assert (again.lr, again.seed, again.updates, again.teacher) == (0.2, 3, 1000, "hub/name")
    assert again.minutes is None and again.out == "x" and again.train == given.train
    (tmp_path / "plan.yaml").write_text("no_flag: 1")
    with pytest.raises(ValueError, match="--plan .* no_flag"):
        apply_plan(again)


@pytest.mark.parametrize(
    "line, said",
    [
        ("lr: fast", "lr must be a number, got fast"),
        ("layers: 0", "layers must be 1 or more, got 0"),
        ("recipe: spliced", "recipe must be auto, or of .*, got spliced"),
        ("precision: fp8", "precision must be one of fp32, .*, got fp8"),
        ("cpu: 1", "cpu must be true or false, got 1"),
        ("label: no", "label must not be true or false, got False"),
        ("unlabelled: more.txt", "unlabelled must be a list, got more.txt"),
        ("text: [a, b]", "text must not be a list, got"),
    ],
)
def test_values_of_an_edited_plan(tmp_path, line, said):
    plan = tmp_path / "plan.yaml"
    plan.write_text(line)
    with pytest.raises(ValueError, match=f"--plan {plan}: {said}"):
        apply_plan(flags(plan=str(plan)))


def test_an_edited_plan_is_read_as_the_command_line(tmp_path):
    plan, args = tmp_path / "plan.yaml", flags(plan=str(tmp_path / "plan.yaml"))
    plan.write_text("{lr: 5e-5, layers: 3, labels: 0, cpu: true, flags: [--dropout, 0.2], seed: }")
    apply_plan(args)
    assert (args.lr, args.layers, args.labels, args.cpu, args.seed) == (5e-5, 3, "0", True, None)
    assert args.flags == ["--dropout", "0.2"]


def test_a_plan_fits_any_teacher_and_machine(tmp_path):
    """What only they decided is decided again; what was given is kept."""
    of_both, path = {"width": 384, "cpu": True, "precision": "fp32"}, tmp_path / "plan.yaml"
    save_plan(planned(**of_both), flags(), path)
    assert of_both.keys().isdisjoint(yaml.safe_load(path.read_text()))
    save_plan(planned(**of_both), flags(**of_both), path)
    assert of_both.items() <= yaml.safe_load(path.read_text()).items()


def test_the_best_score_is_a_number(tmp_path):
    log = tmp_path / "log"
    point = '2026 | INFO | valid | {"epoch": 1, "valid_num_updates": "%d", "valid_pearson": "%s"}\n'
    log.write_text(point % (1, "nan"))
    with pytest.raises(ValueError, match="must validate with a pearson, got none"):
        best_score(log, "pearson")
    log.write_text(point % (1, "nan") + point % (2, "12.5") + point % (3, "8"))
    assert best_score(log, "pearson") == 12.5
