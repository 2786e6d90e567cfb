"""A teacher's copy of the data that cannot be meant: one clear error, before the first update."""

import json
import shutil

import inprocess
import pytest
import ranks
import refusals
import toy
from refusals import KD, assert_matches
from taught import another_token, turn_symbols, with_settings
from two_vocabularies import INIT

from mixkd_plugin.fingerprints import digest_of_texts, write_digests


def flags_of(case):
    return [*KD, "--teacher-path", case.teacher, "--teacher-data", case.copy]


def start(case, folder, *flags):
    with inprocess.captured_log() as log:
        refusals.accepts(case.data, folder, *flags_of(case), *case.flags, *flags)
    return log.text


def refusal(case, folder, *flags):
    return refusals.refusal(case.data, folder, *flags_of(case), *case.flags, *flags)


@pytest.fixture
def case(tmp_path, words):
    """With a copy that may be changed."""
    return words._replace(copy=toy.copy_data(words.copy, tmp_path / "copy"))


# --- flags ---


def test_without_a_teacher(tmp_path, words):
    message = refusals.refusal(words.data, tmp_path, *KD, "--teacher-data", words.copy)
    assert f"--teacher-data {words.copy} needs --teacher-path" in message


@pytest.mark.parametrize(
    "flag, value, allowed",
    [
        ("--shorten-method", "random_crop", "none .*"),
        ("--mixup-kind", "interpolate:splice", "interpolate"),
        ("--hidden-weight", 2, "0"),
    ],
)
def test_flags_that_do_not_fit(tmp_path, words, flag, value, allowed):
    message = refusal(words, tmp_path, flag, value)
    assert_matches(f"{flag} must be {allowed} with --teacher-data .*, got {value}", message)


# --- what the folder lacks ---


def binary(folder, name):
    for ending in ("bin", "idx"):
        yield folder / f"{name}.{ending}"


@pytest.mark.parametrize(
    "lost, message",
    [
        (["."], "copy/input0/dict.txt does not exist"),
        (["input0/dict.txt"], "copy/input0/dict.txt does not exist"),
        (["label/dict.txt"], "copy/label/dict.txt does not exist"),
        (["input0/valid.idx", "input0/valid.bin"], "split 'valid': could not find .*input0/valid"),
        (["label/train.idx", "label/train.bin"], "split 'train': no labels for split 'train'"),
    ],
)
def test_a_folder_that_is_not_whole(tmp_path, case, lost, message):
    for name in lost:
        path = case.copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_matches(f"--teacher-data {case.copy}: .*{message}", refusal(case, tmp_path / "s"))


def test_tokens_of_another_dictionary(tmp_path, case):
    path = case.copy / "input0" / "valid.bin"
    path.write_bytes(b"\xff" * path.stat().st_size)
    message = f"--teacher-data {case.copy}: split 'valid': {path} must have tokens 0 to "
    assert_matches(message, refusal(case, tmp_path / "s"))


# --- other examples ---


def relabel(case, change, names=("0", "1")):
    """Binarise the copy's training labels anew."""
    raw = case.copy / "raw"
    labels = (case.data / "raw" / "train.label").read_text().split()
    (raw / "train.label").write_text("".join(f"{label}\n" for label in change(labels)))
    (raw / "labels.txt").write_text("".join(f"{name} 1\n" for name in names))
    shutil.rmtree(case.copy / "label")
    valid = case.data / "raw" / "valid.label"
    toy.preprocess(case.copy, raw / "train.label", valid, raw / "labels.txt", "label")


def swap(labels):
    """Two rows of different classes, the first and another."""
    other = next(i for i, label in enumerate(labels) if label != labels[0])
    labels[0], labels[other] = labels[other], labels[0]
    return labels


def test_other_labels(tmp_path, case):
    relabel(case, swap)
    first = (case.data / "raw" / "train.label").read_text()[0]
    message = f"--teacher-data {case.copy}: split 'train': example 0 has the label "
    message += f"'{1 - int(first)}', in {case.data} it has '{first}' .2 such examples."
    assert_matches(message, refusal(case, tmp_path / "s"))


def test_other_scores(tmp_path, pairs):
    copy = toy.copy_data(pairs.copy, tmp_path / "copy")
    path = copy / "label" / "valid.label"
    lines = path.read_text().splitlines()
    ours, lines[3] = lines[3], "7.5"
    path.write_text("\n".join(lines) + "\n")
    message = f"split 'valid': example 3 has the label 7.5, in {pairs.data} it has {float(ours):g} "
    assert_matches(message, refusal(pairs._replace(copy=copy), tmp_path / "s"))


def test_one_text_instead_of_two(tmp_path, pairs):
    copy = toy.copy_data(pairs.copy, tmp_path / "copy")
    shutil.rmtree(copy / "input1")
    message = f"split 'valid': it has input0; {pairs.data} has input0 and input1"
    assert_matches(message, refusal(pairs._replace(copy=copy), tmp_path / "s"))


@pytest.mark.parametrize(
    "names, shown",
    [(("1", "0"), r"\['1', '0'\]"), (("0", "1", "2"), r"\['0', '1', '2'\]")],
    ids=["order", "more"],
)
def test_other_classes(tmp_path, case, names, shown):
    relabel(case, list, names)
    message = rf"--teacher-data {case.copy}: .* {case.data}, .* \['0', '1'\], got {shown}"
    assert_matches(message, refusal(case, tmp_path))


def test_another_number_of_examples(tmp_path, case):
    raw = case.copy / "raw"
    relabel(case, lambda labels: labels[:-1])
    lines = (raw / "train.0").read_text().splitlines()
    (raw / "train.0").write_text("\n".join(lines[:-1]) + "\n")
    shutil.rmtree(case.copy / "input0")
    toy.preprocess(case.copy, raw / "train.0", raw / "valid.0", raw / "dict.txt", "input0")
    message = f"--teacher-data {case.copy}: split 'train': 100 examples; {case.data} has 101"
    assert_matches(message, refusal(case, tmp_path / "s"))


def test_rows_without_a_label_say_nothing(tmp_path, case):
    relabel(case, lambda labels: ["none", *labels[1:]])
    start(case, tmp_path / "s", "--unlabelled-examples", "allow")
    message = refusal(case, tmp_path / "t")
    assert_matches("--teacher-data .*split 'train': .*example 0 has the label '<unk>'", message)


# --- other texts, by their fingerprints ---


@pytest.fixture
def fingerprinted(tmp_path, case):
    data = toy.copy_data(case.data, tmp_path / "data")
    digests = {split: digest_of_texts([[split]]) for split in ("train", "valid")}
    for folder in (data, case.copy):
        write_digests(str(folder), digests)
    return case._replace(data=data)


NOT_COMPARED = "the texts of split 'train' were not compared"


def test_the_same_texts_are_silent_and_unknown_ones_a_warning(tmp_path, fingerprinted):
    assert NOT_COMPARED not in start(fingerprinted, tmp_path / "a")
    write_digests(str(fingerprinted.copy), {"valid": digest_of_texts([["valid"]])})
    log = start(fingerprinted, tmp_path / "b")
    assert NOT_COMPARED in log and NOT_COMPARED.replace("train", "valid") not in log


def test_other_texts(tmp_path, fingerprinted):
    copy = fingerprinted.copy
    write_digests(str(copy), {"valid": "other", "train": digest_of_texts([["train"]])})
    message = f"--teacher-data {copy}: split 'valid': other texts than in {fingerprinted.data}, by"
    assert_matches(f"{message} texts.json", refusal(fingerprinted, tmp_path / "s"))


@pytest.mark.parametrize("content", ["", "{", json.dumps([1])])
def test_a_fingerprint_that_is_none(tmp_path, fingerprinted, content):
    (fingerprinted.copy / "texts.json").write_text(content)
    message = f"--teacher-data .*{fingerprinted.copy}/texts.json must have digests of texts"
    assert_matches(message, refusal(fingerprinted, tmp_path / "s"))


def test_every_part_of_a_combined_split(tmp_path, fingerprinted):
    """fairseq trains on train, train1 and so on; the second part has other texts here."""
    for folder in (fingerprinted.data, fingerprinted.copy):
        for column in ("input0", "label"):
            for path in binary(folder / column, "train"):
                shutil.copy(path, path.with_name(f"train1{path.suffix}"))
    start(fingerprinted, tmp_path / "a")
    digests = {split: digest_of_texts([[split]]) for split in ("train", "valid")}
    write_digests(str(fingerprinted.data), {**digests, "train1": "a"})
    write_digests(str(fingerprinted.copy), {**digests, "train1": "b"})
    message = refusal(fingerprinted, tmp_path / "b")
    assert_matches(r"split 'train': other texts than in .*texts.json of both.* \(train1\)", message)


# --- a teacher of another vocabulary, or layout ---


def test_a_teacher_of_the_students_vocabulary(tmp_path, words, teacher):
    message = refusal(words._replace(teacher=teacher), tmp_path)
    start_of = rf"--teacher-path {teacher} \(--teacher-data {words.copy}\): its vocabulary has 45 "
    assert_matches(start_of + "types, the data's has 52", message)


def test_teachers_that_read_in_two_ways(tmp_path, words):
    other = with_settings(tmp_path / "other.pt", words.teacher, "task", init_token=0)
    both = words._replace(teacher=f"{words.teacher}:{other}")
    message = refusal(both, tmp_path / "s")
    assert_matches("--teacher-path must .*--init-token and --separator-token", message)
    assert f"{words.teacher}: {INIT}, None" in message and f"{other}: 0, None" in message


def test_a_teacher_that_does_not_say_how_it_reads(tmp_path, words):
    path = tmp_path / "other.pt"
    with toy.edited(words.teacher, path) as state:
        del state["cfg"]["task"]["separator_token"]
    message = refusal(words._replace(teacher=path), tmp_path / "s")
    assert_matches(f"--teacher-path {path}: its task must have --separator-token", message)


def test_a_teacher_that_is_no_checkpoint(tmp_path, words):
    (tmp_path / "empty.pt").write_bytes(b"")
    message = refusal(words._replace(teacher=tmp_path / "empty.pt"), tmp_path / "s")
    assert_matches("--teacher-path: .*empty.pt is empty", message)


# --- several processes ---


@pytest.mark.parametrize(
    "change, what", [(another_token, "input0/train.bin"), (turn_symbols, "vocabulary")]
)
@pytest.mark.slow
def test_a_copy_that_differs_on_one_rank(tmp_path, case, words, change, what):
    change(case.copy)
    for said in ranks.refusals(tmp_path, words.data, flags_of(words), flags_of(case)):
        assert_matches(f"{what} of --teacher-data must be the same on every rank", said)


def test_a_copy_that_one_rank_lacks(tmp_path, case, words):
    shutil.rmtree(case.copy)
    mine, other = ranks.refusals(tmp_path, words.data, flags_of(words), flags_of(case))
    assert_matches(f"--teacher-data {case.copy}: .*dict.txt does not exist", other)
    assert mine == f"rank 1: {other}"
