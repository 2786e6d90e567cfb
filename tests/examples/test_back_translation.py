"""Back-translation from end to end: two tiny translation models, GLUE files, encode, a student."""

import random

import back_translate
import inprocess
import pytest
import toy
import translation
from back_translated import COMMON, RARE, glue_of_pairs, glue_of_sentences, sentence
from encode_files import decoded, encode_glue, write_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(forward, backward) arguments of fairseq-interactive."""
    folder, rng = tmp_path_factory.mktemp("translation"), random.Random(1)
    pairs = [sentence(rng, common=0.9) for _ in range(2000)]
    for column, language in enumerate(("en", "xx")):
        for split, part in (("train", pairs[:-20]), ("valid", pairs[-20:])):
            text = "".join(f"{pair[column]}\n" for pair in part)
            (folder / f"{split}.{language}").write_text(text)
    return [translator(folder, *direction) for direction in (("en", "xx"), ("xx", "en"))]


def translator(folder, source, target):
    data, save_dir = folder / f"{source}-{target}", folder / f"model-{source}-{target}"
    inprocess.preprocess(
        "--source-lang", source, "--target-lang", target, "--trainpref", folder / "train",
        "--validpref", folder / "valid", "--destdir", data, "--workers", 1,
    )  # fmt: skip
    size = [
        [f"--{side}-embed-dim", 64, f"--{side}-ffn-embed-dim", 64, f"--{side}-layers", 1,
         f"--{side}-attention-heads", 4]
        for side in ("encoder", "decoder")
    ]  # fmt: skip
    inprocess.run_training([
        data, "--user-dir", toy.PLUGIN, "--cpu", "--task", "translation", "--source-lang", source,
        "--target-lang", target, "--arch", "transformer", *size[0], *size[1], "--dropout", 0,
        "--optimizer", "adam", "--lr", 0.005, "--lr-scheduler", "inverse_sqrt",
        "--warmup-updates", 50, "--criterion", "cross_entropy", "--batch-size", 64,
        "--max-update", 300, "--save-dir", save_dir, "--no-epoch-checkpoints",
        "--no-save-optimizer-state", "--validate-interval", 99, "--save-interval", 99,
        "--num-workers", 0, "--log-format", "simple",
    ])  # fmt: skip
    checkpoint = save_dir / "checkpoint_last.pt"
    return f"'{data}' --path '{checkpoint}' --source-lang {source} --target-lang {target} --cpu"


def expected(text):
    return " ".join(COMMON[int(word[-1])] for word in text.split() if word != '"')


def lines(folder, name="train.tsv"):
    text = (folder / name).read_bytes().decode()
    assert text.endswith("\n")
    return [line.split("\t") for line in text.split("\n")[:-1]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tokenizer"), [*COMMON, *RARE])


def test_sentences_by_the_script_and_a_student_of_the_copies(tmp_path, venv, models, tokenizer):
    glue, out = glue_of_sentences(tmp_path / "SST-2"), tmp_path / "out" / "SST-2"
    flags = ["--glue", glue, "--task", "SST-2", "--out", out, "--forward", models[0]]
    flags += ["--backward", models[1], "--labels", "none"]
    _, said = toy.run_script(venv, "back_translation/run.sh", *flags, cwd=tmp_path)
    before, after = lines(glue), lines(out)
    assert after[: len(before)] == before
    assert lines(out, "dev.tsv") == lines(glue, "dev.tsv")
    copies = after[len(before) :]
    assert all(label == "" for _, label in copies)
    wanted = {expected(text) for text, _ in before[1:]}
    right = sum(text in wanted for text, _ in copies)
    assert right > 0.8 * len(copies)  # else the models, or their order, are wrong
    same = 60 - 1 - len(copies)
    assert f"left out were {same} copies equal to the original and 1 with an empty" in said

    # again, with gold labels: no model is asked
    again = tmp_path / "again"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation.Translation, "_run", None)
        back_translate.back_translate(
            str(glue), "SST-2", str(again), *models, work=str(tmp_path / "out" / "SST-2.work")
        )
    with_labels = lines(again)[len(before) :]
    assert [text for text, _ in with_labels] == [text for text, _ in copies]
    assert {label for _, label in with_labels} == {"0", "1"}

    # a student: the copies through the teacher alone
    data = tmp_path / "data"
    flags = encode_glue(out, "SST-2", tokenizer, data, unlabelled=True).split()
    assert [label for _, label in decoded(data, "train")].count(-1) == len(copies)
    fine_tune = ["--sm-weight", 0, "--tmkd-weight", 0, "--max-update", 4, *flags]
    toy.fit(data, tmp_path / "teacher", *fine_tune)
    teacher = ["--teacher-path", tmp_path / "teacher" / "checkpoint_last.pt"]
    log = toy.fit(data, tmp_path / "student", "--kd-weight", 1, *teacher, *flags)
    assert f"60 of {60 + len(copies)} training examples have a label" in log
    figures = toy.last_values(log, "train")
    assert figures["kd_loss"] > 0 and figures["sm_loss"] > 0 and "accuracy" in figures


def test_pairs_of_a_part(tmp_path, models):
    """Both texts are translated, the label and the other columns are the original's."""
    glue, out = glue_of_pairs(tmp_path / "RTE"), tmp_path / "out"
    back_translate.back_translate(
        str(glue), "RTE", str(out), models[0] + " --sampling --sampling-topk 1 --beam 1",
        models[1] + " --max-tokens 200 --remove-bpe", fraction=0.5, fraction_seed=2,
    )  # fmt: skip
    whole, after = lines(glue), lines(out)
    originals = [row for row in after[1:] if row in whole]
    assert after[0] == whole[0] and 13 <= len(originals) <= 17
    copies = after[1 + len(originals) :]
    assert len(copies) > 5
    own, right = {row[0]: row for row in originals}, 0
    for index, first, second, label in copies:
        original = own[index]
        assert label == original[3]
        assert [first, second] != original[1:3]
        right += [first, second] == [expected(text) for text in original[1:3]]
    assert right > 0.7 * len(copies)


def test_several_translations_of_a_text_are_refused_and_nothing_is_written(tmp_path, models):
    glue = glue_of_sentences(tmp_path / "SST-2")
    forward = models[0] + " --nbest 2"
    with pytest.raises(ValueError, match="--forward must .* 2 of text 1"):
        back_translate.back_translate(str(glue), "SST-2", str(tmp_path / "out"), forward, models[1])
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "out.work").glob("*.txt"))  # so another run would ask again
