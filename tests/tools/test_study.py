"""The study: which runs it has, their flags, where they run, and what is refused."""

import re
import shlex

import pytest
import torch
from documents import shell_lines
from refusals import error_of
from small_study import STUDY

from mixkd_plugin.tools.study import build_parser, main, plan
from mixkd_plugin.tools.study.command import file_of
from mixkd_plugin.tools.study.commands import check_flags
from mixkd_plugin.tools.study.study import devices_of, read_study


def study(tmp_path, *overrides):
    return read_study(str(STUDY), [f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}", *overrides])


def flags(study, run, examples=1000):
    words = plan.train_flags(plan.settings_of(study, run), examples)
    return {key: value for key, value in zip(words, [*words[1:], ""]) if key.startswith("--")}


def test_every_arm_has_equal_rows_and_updates(tmp_path):
    config = study(tmp_path, "arms=[FT,KD,SM,TMKD,SM+TMKD,KD+TMKD,KD+SM+TMKD,TMKD-only]")
    runs = plan.all_runs(config)
    assert len(runs) == len(set(runs)) == 8 * 3 * 2 * 5
    by_arm = {run.arm: flags(config, run) for run in runs if run.seed == 1}
    assert {f["--max-update"] for f in by_arm.values()} == {"200"}
    sizes = {arm: int(f["--batch-size"]) for arm, f in by_arm.items()}
    mixed = {"SM", "TMKD", "SM+TMKD", "KD+TMKD", "KD+SM+TMKD"}
    assert sizes == {arm: 16 if arm in mixed else 32 for arm in sizes}


def test_few_examples_get_equal_rows_too(tmp_path):
    """37 pairs in batches of up to 16 rows: 3 batches of pairs, or 6 of pairs and mixes."""
    config = study(tmp_path, "arms=[KD,KD+TMKD]", "settings.common.rows=16")
    rows = {}
    for run in plan.all_runs(config):
        size = int(flags(config, run, 37)["--batch-size"])
        batches = -(-37 // size)  # the plugin's are of equal size, give or take one
        rows[run.arm] = 37 / batches * (2 if run.arm == "KD+TMKD" else 1)
    assert rows["KD"] == pytest.approx(37 / 3) and rows["KD+TMKD"] == pytest.approx(37 / 3)


def test_a_variant_that_an_arm_cannot_feel_is_left_out(tmp_path):
    variants = "variants=[recipe,'mixup-alpha=1','kd-weight=2','distill-distance=kl','lr=1e-3']"
    config = study(tmp_path, "arms=[FT,KD,TMKD-only]", variants, "tasks=[RTE]", "fractions=[1]")
    found = {}
    for run in plan.all_runs(config):
        found.setdefault(run.arm, set()).add(run.variant.partition("=")[0])
    assert found == {
        "FT": {"recipe", "lr"},
        "KD": {"recipe", "lr", "kd-weight", "distill-distance"},
        "TMKD-only": {"recipe", "lr", "mixup-alpha", "distill-distance"},
    }


def test_an_arm_of_hidden_states_alone_has_a_teacher(tmp_path):
    arm = "{mle-weight: 1, kd-weight: 0, sm-weight: 0, tmkd-weight: 0, hidden-weight: 1}"
    arms = "arms=[hidden,FT]", f"+settings.arms.hidden={arm}"
    variants = "variants=[recipe,'hidden-weight=3','distill-distance=kl']"
    config = study(tmp_path, *arms, variants, "tasks=[RTE]", "fractions=[1]", "seeds=[1]")
    runs = plan.all_runs(config)
    found = [(run.arm, run.variant) for run in runs]
    assert found == [("hidden", "recipe"), ("FT", "recipe"), ("hidden", "hidden-weight=3")]
    asked = [plan.teacher_queries(plan.settings_of(config, run), 100) for run in runs]
    assert asked == [100, 0, 100]


def test_teacher_is_asked_equally_often_by_kd_and_by_mixkd(tmp_path):
    config = study(tmp_path, "arms=[KD,KD+SM+TMKD,TMKD-only,FT]")
    asked = {}
    for run in plan.all_runs(config):
        settings = plan.settings_of(config, run)
        seen = 200 * int(flags(config, run)["--batch-size"])  # in 200 updates
        asked[run.arm] = plan.teacher_queries(settings, seen)
    assert asked == {"KD": 6400, "KD+SM+TMKD": 6400, "TMKD-only": 6400, "FT": 0}


def test_an_arms_former_name_has_its_settings(tmp_path):
    config = study(tmp_path, "arms=[FM]")
    assert config["settings"]["arms"]["FM"] == config["settings"]["arms"]["TMKD-only"]


def test_tables_are_merged_in_order(tmp_path):
    config = study(
        tmp_path, "tasks=[RTE]", "fractions=[0.1]", "arms=[KD]", "seeds=[1]",
        "variants=[recipe,'lr=5e-4,kd-weight=2']", "+settings.tasks.RTE.lr=1e-5",
        "+settings.tasks.RTE.dropout=0.3", "+settings.fractions={0.1: {dropout: 0.2}}",
    )  # fmt: skip
    plain, changed = (flags(config, run) for run in plan.all_runs(config))
    assert plain["--dropout"] == "0.2"  # a fraction's over a task's
    assert float(plain["--lr"]) == 2e-4  # a student's over a task's
    assert (plain["--kd-weight"], changed["--kd-weight"], changed["--lr"]) == ("1", "2", "5e-4")


def test_a_value_of_a_variant_may_be_a_list(tmp_path):
    variant = "student-init-layers=0,2,4,lr=1e-4"
    config = study(tmp_path, f"variants=['{variant}']", "arms=[KD]", "seeds=[1]", "tasks=[RTE]")
    found = flags(config, plan.all_runs(config)[0])
    assert (found["--student-init-layers"], found["--lr"]) == ("0,2,4", "1e-4")


def test_length_is_in_passes_of_rows_and_at_least_the_minimum(tmp_path):
    config = study(tmp_path, "arms=[KD]", "seeds=[1]", "settings.common.epochs=2")
    run = plan.all_runs(config)[0]
    assert flags(config, run, 33)["--max-update"] == "200"
    long = flags(config, run, 32 * 500 + 1)
    assert (long["--max-update"], long["--warmup-updates"]) == ("1002", "100")


@pytest.mark.parametrize("examples, updates", [(33, 200), (32 * 500 + 1, 1503)])
def test_a_teacher_of_a_small_part_has_the_least_updates_too(tmp_path, examples, updates):
    """Three passes of 33 sentences would leave it at chance."""
    settings = plan.teacher_settings(study(tmp_path), "SST-2")
    words = plan.train_flags(settings, examples)
    assert words[words.index("--max-update") + 1] == str(updates)


@pytest.mark.parametrize(
    "override, message",
    [
        ("tasks=[WNLI]", "tasks must be one of CoLA"),
        ("arms=[KDD]", "arms must be one of FT, KD"),
        ("fractions=[10]", "fractions must be in (0, 1], got 10"),
        ("variants=[alpha]", "variants must be recipe or KEY=VALUE[,KEY=VALUE], got 'alpha'"),
        ("settings.common.rows=1", "rows must be >= 2"),
        ("settings.common.rows=abc", "rows must be an integer, got 'abc'"),
        ("settings.arms.KD.kd-weight=x", "kd-weight must be a number, got 'x'"),
        ("data=[bt]", "data must be one of gold, got 'bt'"),
        ("keep=none", "keep must be all or first, got 'none'"),
        ("points=0", "points must be >= 1, got 0"),
        ("points=abc", "full_key: points"),
        ("seeds=1", "full_key: seeds"),
        ("seeds=[a]", "full_key: seeds"),
        ("fractions=[1%]", "full_key: fractions"),
        ("tasks=RTE", "full_key: tasks"),
        ("+settings.tasks.RTE.teacher=/nope.pt", "teacher must be a file, got /nope.pt"),
        ("nonsense=1", "nonsense"),
        ("glue.gold=/nowhere", "glue.gold must be a folder, got /nowhere"),
        ("devices=gpu", "devices must be auto, cpu or"),
        ("devices=[]", "devices must be auto, cpu or"),
        ("devices=[99]", "got [99]"),
        ("jobs=-1", "jobs must be >= 1, got -1"),
        ("+settings.arms.KD.init=first", "init must be one of teacher, encoder, scratch"),
        ("variants=['length=64']", "length must be in settings.common or settings.tasks"),
    ],
)
def test_refusals_name_key_value_and_what_is_allowed(tmp_path, override, message):
    words = [STUDY, f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}", override]
    assert message in error_of(main, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wanted, jobs, gpus",
    [
        ("auto", None, [0, 1, 2]),
        ("auto", 2, [0, 1, 2] * 2),
        ([1], None, [1]),
        ("cpu", 2, [None] * 2),
    ],
)
def test_devices_at_hand(monkeypatch, wanted, jobs, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    devices = devices_of({"devices": wanted, "jobs": jobs})
    assert [device.gpu for device in devices] == gpus
    for device in devices:
        visible = "" if device.gpu is None else str(device.gpu)
        assert device.environment["CUDA_VISIBLE_DEVICES"] == visible
        assert device.flags == (["--cpu"] if device.gpu is None else [])


def test_gpus_are_those_that_the_study_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5,6")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    devices = devices_of({"devices": [1, 2], "jobs": None})
    assert [d.environment["CUDA_VISIBLE_DEVICES"] for d in devices] == ["GPU-5", "6"]


def test_without_gpus_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    (*_, device) = devices_of({"devices": "auto", "jobs": None})
    assert device.gpu is None and device.threads >= 1


def test_other_studies_of_the_folder_compose(tmp_path, capsys):
    for path in sorted(STUDY.parent.glob("*.yaml")):
        main([str(path), f"glue.gold={tmp_path}", "--list", f"out={tmp_path / 'out'}"])
        assert "/seed1" in capsys.readouterr().out


def test_a_study_elsewhere_begins_with_one_of_the_folder(tmp_path):
    own = tmp_path / "own study" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("defaults: [minilm, _self_]\nseeds: [7]\n")
    given = {"glue.gold": str(tmp_path), "out": "o"}
    theirs = read_study(str(STUDY.with_name("minilm.yaml")), [], given)
    assert read_study(str(own), [], given) == {**theirs, "seeds": [7]}


@pytest.mark.parametrize("key", ["distill-distance", "mixup-pairing", "mixup-kind"])
def test_a_name_that_is_not_registered_is_refused_before_any_run(tmp_path, key):
    config = study(tmp_path, f"+settings.arms.KD.{key}=misspelt", "arms=[KD]")
    with pytest.raises(ValueError, match=f"--{key} must be one of .*, got misspelt"):
        check_flags(config, list(plan.all_runs(config)))


def test_a_misspelt_flag_of_any_fraction_is_refused_before_any_run(tmp_path):
    change = "+settings.fractions={0.1:{bacth-size:8}}"
    config = study(tmp_path, change, "fractions=[0.01,0.1]", "arms=[KD]")
    with pytest.raises(ValueError, match="settings of .*/0.1/.*: .*--bacth-size"):
        check_flags(config, list(plan.all_runs(config)))


def test_flags_are_keys_and_a_name_is_a_file(tmp_path, capsys):
    """A path is taken as it is, also where hydra's syntax would need quotes."""
    glue = tmp_path / "a,b=c {d}"
    glue.mkdir()
    overrides = ["tasks=[RTE]", "seeds=[1]"]
    main([str(STUDY), f"glue.gold={tmp_path}", f"out={tmp_path / 'out'}", *overrides, "--list"])
    old = capsys.readouterr().out
    words = ["study", "--glue", str(glue), "--out", "o,ut", "--jobs", "2"]
    main([*words, *(word for one in overrides for word in ("--set", one)), "--list"])
    assert capsys.readouterr().out == old
    given = {"glue.gold": str(glue), "out": "o,ut", "jobs": 2}
    config = read_study(str(STUDY), overrides, given)
    assert (config["glue"], config["out"], config["jobs"]) == ({"gold": str(glue)}, "o,ut", 2)
    with pytest.raises(SystemExit, match="STUDY must be a YAML file, got nothing"):
        main(["nothing", "--glue", str(glue), "--out", "out"])
    with pytest.raises(SystemExit, match="2"):
        main(["study", "--jobs", "0"])


def documented():
    """Words of every study command in guides and configurations, and of lone overrides there."""
    texts = [path.read_text(encoding="utf-8") for path in STUDY.parent.glob("*.yaml")]
    commands = [m for text in texts for m in re.findall(r"# +(mixkd study .*)", text)]
    lone = [m for text in texts for m in re.findall(r"(\+?settings\.[\w.-]+=\w+)", text)]
    guides = [*STUDY.parent.glob("*.md"), STUDY.parents[1] / "compare_methods" / "README.md"]
    variables = {}
    readme = "".join(guide.read_text(encoding="utf-8") for guide in guides)
    lone += re.findall(r"`(?!KEY)(['\"]?\+?[\w.-]+=[^`]+)`", readme)
    for line in (line for guide in guides for line in shell_lines(guide)):
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        if line.startswith("mixkd study "):
            commands.append(line)
        variables.update(re.findall(r'^(\w+)="(.*)"$', line))
    commands += [f"mixkd study study --glue GLUE --out OUT {override}" for override in lone]
    return [pytest.param(shlex.split(c)[2:], id=c[12:90]) for c in commands]


@pytest.mark.parametrize("words", documented())
def test_documented_commands_and_overrides_compose(tmp_path, monkeypatch, words):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    words = [re.sub("GLUE|DATA|DIR|HALF", str(tmp_path), w) for w in words]
    args = build_parser().parse_args(words)
    given = {"glue.gold": args.glue, "out": args.out}
    config = read_study(file_of(args.study), [*args.overrides, *args.set], given)
    assert plan.all_runs(config) and devices_of(config)
