"""compare: every example counts, the figures are the models', the files are written."""

import json
import shutil

import inprocess
import pytest
import torch
import toy
from fairseq import checkpoint_utils
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, matthews_corrcoef
from taught import with_settings

from mixkd_plugin.fingerprints import write_digests
from mixkd_plugin.tools.batches import batches_of_all, make_batches
from mixkd_plugin.tools.compare import main
from mixkd_plugin.tools.compare.compare import compare
from mixkd_plugin.tools.scoring import load, load_all
from mixkd_plugin.tools.sizes import size_of


def predictions(path, data, split="valid"):
    """Logits and targets of every example, one at a time, through fairseq alone."""
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(path)], {"data": str(data)}
    )
    task.load_dataset(split)
    dataset, model = task.dataset(split), model.eval()
    logits, targets = [], []
    for i in range(len(dataset)):
        batch = dataset.collater([dataset[i]])
        with torch.no_grad():
            output, _ = model(
                **batch["net_input"],
                features_only=True,
                classification_head_name="sentence_classification_head",
            )
        logits.append(output[0])
        targets.append(batch["target"].view(-1)[0])
    return torch.stack(logits), torch.stack(targets)


def test_classification(tmp_path, classification, teacher, distilled):
    """Accuracy, F1, MCC and agreement over all 37 examples, a number that no batch divides."""
    student = distilled.folder / "checkpoint_last.pt"
    flags = {"report_acc_and_f1": True, "report_mcc": True}
    sources = {"T": teacher, "S": student}
    paths = {
        name: str(with_settings(tmp_path / f"{name}.pt", source, "criterion", **flags))
        for name, source in sources.items()
    }
    rows, count = compare(str(classification), paths, "T", batch_size=8, rounds=1)
    assert count == 37
    found = {name: predictions(path, classification) for name, path in paths.items()}
    classes = {name: logits.argmax(1) for name, (logits, _) in found.items()}
    for name, (_, targets) in found.items():
        right = (classes[name] == targets).double().mean().item()
        assert rows[name]["accuracy"] == pytest.approx(100 * right)
        assert rows[name]["f1"] == pytest.approx(100 * f1_score(targets, classes[name]))
        assert rows[name]["mcc"] == pytest.approx(100 * matthews_corrcoef(targets, classes[name]))
        assert rows[name]["sentences_per_second"] > 0
    alike = (classes["T"] == classes["S"]).double().mean().item()
    assert rows["S"]["agreement"] == pytest.approx(100 * alike)
    assert rows["T"]["agreement"] == 100
    assert [rows[name]["layers"] for name in "TS"] == [3, 2]
    assert rows["T"]["parameters"] > rows["S"]["parameters"]
    # of the weights in float32; the file holds the optimizer's state as well
    assert rows["S"]["megabytes"] == 4 * rows["S"]["parameters"] / 1e6
    assert rows["S"]["megabytes"] < (tmp_path / "S.pt").stat().st_size / 3e6
    with toy.edited(student, tmp_path / "untied.pt") as state:
        for name, weight in state["model"].items():
            state["model"][name] = weight.clone()  # as --bf16 saves tied weights
    assert size_of(str(tmp_path / "untied.pt")) == size_of(str(student))


def test_regression(tmp_path, regression, regression_teacher):
    path = str(regression_teacher)
    rows, count = compare(str(regression), {"T": path}, "T", rounds=1)
    outputs, targets = predictions(path, regression)
    assert count == 37
    wanted = 100 * pearsonr(outputs[:, 0], targets)[0]
    assert rows["T"]["pearson"] == pytest.approx(wanted, abs=1e-3)
    assert rows["T"]["correlation"] == pytest.approx(100)
    assert "accuracy" not in rows["T"]


def test_a_teacher_with_a_vocabulary_of_its_own(words, distilled, tmp_path):
    """It reads its copy, in whose own order of lengths; the rows are put side by side again."""
    student = str(distilled.folder / "checkpoint_last.pt")
    paths = {"T": str(words.teacher), "S": student}
    rows, count = compare(
        str(words.data), paths, "T", batch_size=8, rounds=1, teacher_data=str(words.copy)
    )
    (theirs, targets), (ours, _) = (
        predictions(path, data)
        for path, data in ((words.teacher, words.copy), (student, words.data))
    )
    alike = (theirs.argmax(1) == ours.argmax(1)).double().mean().item()
    assert count == 37
    assert rows["S"]["agreement"] == pytest.approx(100 * alike)
    for name, logits in (("T", theirs), ("S", ours)):
        right = (logits.argmax(1) == targets).double().mean().item()
        assert rows[name]["accuracy"] == pytest.approx(100 * right)

    def refuse(message, data, copy, paths=paths):
        with pytest.raises(ValueError) as error:
            compare(str(data), paths, "T", rounds=1, teacher_data=str(copy))
        assert message in str(error.value)

    data, copy = tmp_path / "data", tmp_path / "copy"
    shutil.copytree(words.data, data)
    shutil.copytree(words.copy, copy)
    write_digests(str(data), {"valid": "a"})
    write_digests(str(copy), {"valid": "b"})
    refuse("got other texts in split 'valid'", data, copy)
    for part in ("bin", "idx"):
        shutil.copy(copy / "label" / f"train.{part}", copy / "label" / f"valid.{part}")
        shutil.copy(copy / "input0" / f"train.{part}", copy / "input0" / f"valid.{part}")
    refuse("got other number or labels in split 'valid'", data, copy)
    refuse(f"--teacher-data {tmp_path}: ", data, tmp_path)
    refuse("--teacher-data must be given with", data, copy, {"T": str(words.teacher)})


def test_scores_for_a_teacher_with_a_vocabulary_of_its_own(pairs, tmp_path):
    """fairseq's own task keeps them in another type than ours does."""
    inprocess.run_training(pairs.flags_for(tmp_path, "--max-update", 2))
    student = tmp_path / "checkpoint_last.pt"
    paths = {"S": str(student), "T": str(pairs.teacher)}
    rows, count = compare(str(pairs.data), paths, "T", rounds=1, teacher_data=str(pairs.copy))
    theirs, targets = predictions(pairs.teacher, pairs.copy)
    ours, _ = predictions(student, pairs.data)
    assert count == 19
    for name, outputs in (("T", theirs), ("S", ours)):
        wanted = 100 * pearsonr(outputs[:, 0], targets)[0]
        assert rows[name]["pearson"] == pytest.approx(wanted, abs=1e-3)
    wanted = 100 * pearsonr(ours[:, 0], theirs[:, 0])[0]
    assert rows["S"]["correlation"] == pytest.approx(wanted, abs=1e-3)


def test_metrics_are_those_that_the_data_or_any_of_them_asks_for(
    tmp_path, classification, teacher, distilled
):
    """A teacher by fairseq's recipe was trained without them; one table has one set of columns."""
    student = distilled.folder / "checkpoint_last.pt"
    asking = with_settings(tmp_path / "s.pt", student, "criterion", report_acc_and_f1=True)
    rows, _ = compare(str(classification), {"T": str(teacher), "S": str(asking)}, "T", rounds=1)
    assert "f1" in rows["T"] and "f1" in rows["S"]
    data = tmp_path / "data"
    shutil.copytree(classification, data)
    (data / "train_flags.txt").write_text("--num-classes 2 --report-mcc")
    rows, _ = compare(str(data), {"T": str(teacher)}, "T", rounds=1)
    assert "mcc" in rows["T"] and "f1" not in rows["T"]


def test_single_texts_have_nothing_to_separate(tmp_path, classification, teacher, distilled):
    """fairseq's recipe for SST-2 names a separator, where ours does not."""
    student = str(distilled.folder / "checkpoint_last.pt")
    path = with_settings(tmp_path / "t.pt", teacher, "task", separator_token=2)
    rows, _ = compare(str(classification), {"T": str(path), "S": student}, "T", rounds=1)
    assert rows["T"]["agreement"] == 100


def test_each_checkpoint_reads_texts_as_long_as_in_its_training(tmp_path, classification, teacher):
    """Whichever comes first, all would read its texts: cut short, or not."""
    cut = {"shorten_method": "truncate", "max_positions": 4}
    path = with_settings(tmp_path / "cut.pt", teacher, "task", **cut)
    paths = {"whole": str(teacher), "cut": str(path)}
    for names in (("whole", "cut"), ("cut", "whole")):
        loaded = load_all({name: paths[name] for name in names}, str(classification), "cut", None)
        batches = batches_of_all(loaded, "valid", 8)
        widths = {n: max(b["net_input"]["src_tokens"].size(1) for b in batches[n]) for n in names}
        assert widths == {"whole": 14, "cut": 4}
    rows, count = compare(str(classification), paths, "whole", rounds=1)
    assert count == 37 and rows["cut"]["agreement"] < 100


def test_speed_batches_hold_every_example_once(classification, teacher):
    batches = make_batches(load(str(teacher), str(classification)).task, "train", 8)
    ids = torch.cat([batch["id"] for batch in batches])
    assert sorted(ids.tolist()) == list(range(101))


def test_command(tmp_path, classification, teacher, distilled, capsys):
    pytest.importorskip("matplotlib")
    student = distilled.folder / "checkpoint_last.pt"
    student = with_settings(tmp_path / "s.pt", student, "criterion", report_acc_and_f1=True)
    out = tmp_path / "out"
    arguments = [str(classification), f"a|b={student}", f"large={teacher}", "--teacher", "large"]
    main([*arguments, "--out", str(out), "--rounds", "1"])
    table = (out / "compare.md").read_text()
    assert table in capsys.readouterr().out
    assert "37 examples of `valid`" in table
    header, _, small, large = [line.split(" |") for line in table.splitlines()[:4]]
    assert len(header) == len(small) == len(large) == 9
    assert header[2].strip() == "F1 of 1, %"
    assert small[0].strip() == "| a\\|b"
    results = json.loads((out / "compare.json").read_text())
    assert results["teacher"] == "large"
    assert results["models"]["large"]["agreement"] == 100
    assert small[1].strip() == f"{results['models']['a|b']['accuracy']:.1f}"
    assert (out / "compare.png").read_bytes()[:4] == b"\x89PNG"
