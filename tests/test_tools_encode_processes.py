"""encode of many lines: any number of processes, a progress bar, a killed one, a full disk."""

import contextlib
import fcntl
import multiprocessing
import os
import pty
import resource
import struct
import subprocess
import termios
import threading
import time

import pytest
import toy
from test_tools_encode import decoded
from test_tools_encode_files import encode, files_of, flags_of, write
from tiny_tokenizers import KINDS, TEXT

from mixkd_plugin.tools.tokenizing import CHUNK, tokenize

FORMATS = ("tsv", "csv", "jsonl")
ACCENTS = str.maketrans("ïü", "iu")
FEW = [("a b c", "yes"), ("cold soup!", "no")]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    rows = [
        (f"{TEXT[i % len(TEXT)]} {'soup ' * (i % 7)}", "yn"[i % 3 == 0])
        for i in range(2 * CHUNK + 345)
    ]
    folder = tmp_path_factory.mktemp("many")
    return write(folder / "many.csv", ["text", "label"], rows)


def run_command(*args, **kwargs):
    return subprocess.run(
        **{**toy.command_of("mixkd_plugin.tools.encode", args), "cwd": toy.ROOT, **kwargs}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, tokenizers, many, kind):
    for workers in (1, 3):
        flags = flags_of(many, many, tokenizers[kind], tmp_path / str(workers))
        encode(*flags, "--workers", workers, "--max-tokens", 20)
    one, three = files_of(tmp_path / "1"), files_of(tmp_path / "3")
    assert {"input0/train.bin", "input0/train.idx", "label/valid.bin"} <= set(one)
    assert one == three
    assert len(decoded(tmp_path / "3")) == 2 * CHUNK + 345


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
        return [*flags_of(many, many, tokenizers["wordpiece"], tmp_path / name), "--workers", 2]

    shown = on_a_terminal(*flags("terminal"))
    piped = run_command(*flags("pipe")).stdout
    assert "train: 100%" in shown and "2345/2345 [" in shown
    assert "2345/" not in piped
    for said in (shown, piped):
        assert f"train ({many}): 2345 examples, 0 of them cut to 128 tokens" in said
    assert files_of(tmp_path / "pipe") == files_of(tmp_path / "terminal")


def test_a_killed_process_is_one_error(tmp_path, tokenizers):
    def kill():
        while not multiprocessing.active_children():
            time.sleep(0.01)
        time.sleep(0.2)  # in the middle of its work
        for process in multiprocessing.active_children():
            process.kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    texts = [(" ".join(TEXT),)] * 40 * CHUNK
    with pytest.raises(ValueError, match="^--workers 2: one of the processes died"):
        tokenize(texts, tokenizers["gpt2"], 128, 2, str(tmp_path / "train"))
    thread.join()


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, tokenizers, many):
    folder = tmp_path / "out"
    done = run_command(
        *flags_of(many, many, tokenizers["wordpiece"], folder / "data"), "--workers", 2,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "encode: [Errno 27] File too large"
    assert "Traceback" not in done.stdout
    assert list(folder.iterdir()) == []
