"""encode of many lines: fairseq-preprocess's bytes, a progress bar, signals, a full disk."""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios

import inprocess
import pytest
import toy
from encode_files import FEW, decoded, encode, files_of, flags_of, refused, write
from refusals import small_files
from slow_cases import slow
from tiny_tokenizers import KINDS, TEXT

from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.cli import _end_on_signals
from mixkd_plugin.tools.encode import encode as command
from mixkd_plugin.tools.encode.binarizing import BATCH, Writer

ROWS = [
    (f"{TEXT[i % len(TEXT)]} {'soup ' * (i % 7)}", "yn"[i % 3 == 0], i % 5)
    for i in range(2 * BATCH + 345)
]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "many.csv"
    return write(path, ["text", "label", "score"], ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_is_the_one_that_fairseq_preprocess_makes(tmp_path, tokenizers, many, kind):
    """Of the same pieces, one text at a time: to the byte, in all that training reads."""
    few = [(text, "yn"[i % 2], i) for i, text in enumerate([*TEXT, "", "a\u3000b"])]
    valid = write(tmp_path / "v.csv", ["text", "label", "score"], few)
    encode(*flags_of(many, valid, tokenizers[kind], tmp_path / "ours"))
    tokenizer = build_tokenizer(tokenizers[kind])
    for split, rows in (("train", ROWS), ("valid", few)):
        pieces = [" ".join(tokenizer.encode(text)) for text, *_ in rows]
        (tmp_path / f"{split}.input0").write_text("".join(f"{line}\n" for line in pieces))
        (tmp_path / f"{split}.label").write_text("".join(f"{row[1]}\n" for row in rows))
    (tmp_path / "labels.txt").write_text("n 1\ny 1\n")
    words = {"input0": tokenizer.dictionary, "label": tmp_path / "labels.txt"}
    for column, dictionary in words.items():
        inprocess.preprocess(
            "--only-source", "--srcdict", dictionary, "--destdir", tmp_path / "theirs" / column,
            "--trainpref", tmp_path / f"train.{column}",
            "--validpref", tmp_path / f"valid.{column}",
        )  # fmt: skip
    ours, theirs = files_of(tmp_path / "ours"), files_of(tmp_path / "theirs")
    assert {"input0/train.bin", "input0/dict.txt", "label/valid.idx"} < set(theirs)
    assert theirs == {name: ours[name] for name in ours if "/" in name}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_writes_the_same_bytes(tmp_path, tokenizers, many, kind):
    for workers in (1, 3):
        flags = flags_of(many, many, tokenizers[kind], tmp_path / str(workers))
        more = ["--workers", workers, "--max-tokens", 20]
        toy.run_module("mixkd_plugin.tools.encode", *flags, *more)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "3")
    assert len(decoded(tmp_path / "3")) == len(ROWS)


def on_a_terminal(*args):
    """All that the command shows when stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # rows, columns
    options = toy.command_of("mixkd_plugin.tools.encode", args)
    options.update(stdout=theirs, stderr=theirs, text=False, cwd=toy.ROOT)
    with subprocess.Popen(**options) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while True:
                shown += os.read(ours, 1 << 16)
        os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.slow
def test_the_command_shows_a_bar_on_a_terminal_alone(tmp_path, tokenizers, many):
    def flags(name):
        return flags_of(many, many, tokenizers["wordpiece"], tmp_path / name)

    shown = on_a_terminal(*flags("terminal"))
    piped = toy.run_module("mixkd_plugin.tools.encode", *flags("pipe")).stdout
    assert "train: 100%" in shown and "2345/2345 [" in shown
    assert "2345/" not in piped
    for said in (shown, piped):
        assert f"train ({many}): 2345 examples, 0 of them cut to 128 tokens" in said
    assert files_of(tmp_path / "pipe") == files_of(tmp_path / "terminal")


NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", [NUMBERS[0], *slow(*NUMBERS[1:])])
def test_a_signal_ends_it_and_nothing_is_left(tmp_path, tokenizers, many, number, monkeypatch):
    """In the middle of its work."""
    add, rows = Writer.add, iter(range(1500))

    def add_some(writer, row):
        if next(rows, None) is None:
            assert list((tmp_path / "out").glob(".encode-*/input0/train.bin"))
            os.kill(os.getpid(), number)
        add(writer, row)

    monkeypatch.setattr(Writer, "add", add_some)
    before = [signal.signal(n, signal.SIG_DFL) for n in NUMBERS]
    try:
        _end_on_signals("encode")
        with pytest.raises(SystemExit) as error:
            encode(*flags_of(many, many, tokenizers["gpt2"], tmp_path / "out" / "data"))
    finally:
        for n, handler in zip(NUMBERS, before):
            signal.signal(n, handler)
    assert error.value.code == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, tokenizers, many):
    folder = tmp_path / "out"
    with small_files(20000):
        said = refused(*flags_of(many, many, tokenizers["wordpiece"], folder / "data"))
    assert said.startswith(f"encode: --out must be writable, got {folder / 'data'}: File too large")
    assert "\n" not in said and not folder.exists()


def test_another_process_was_first(tmp_path, tokenizers, monkeypatch):
    """While texts were cut up: its data stay."""
    path = write(tmp_path / "t.csv", ["text", "label"], FEW)
    out = tmp_path / "d"

    def meanwhile(*_):
        out.mkdir()
        (out / "theirs").touch()

    monkeypatch.setattr(command, "write_digests", meanwhile)
    assert f"--out must be new or empty, or with --force a data folder, got {out}" in refused(
        *flags_of(path, path, tokenizers["wordpiece"], out)
    )
    assert [p.name for p in out.iterdir()] == ["theirs"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "t.csv"]


def test_out_must_be_a_folder_that_can_be_moved_to(tmp_path, tokenizers, monkeypatch):
    path = write(tmp_path / "t.csv", ["text", "label"], FEW)
    out = tmp_path / "volume"
    out.mkdir()
    ismount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda p: p == str(out) or ismount(p))
    for bad, reason in ((out, "must not be a mount point"), ("a\0b", "got 'a")):
        said = refused(*flags_of(path, path, tokenizers["wordpiece"], bad))
        assert "--out" in said and reason in said
    encode(*flags_of(path, path, tokenizers["wordpiece"], out / "d"))
