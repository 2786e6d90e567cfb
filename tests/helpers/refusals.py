"""What every test of bad input does."""

import contextlib
import re
import resource
import time

import inprocess
import pytest
import toy
from toy import FINE_TUNE

from mixkd_plugin.checkpoints import safe_load
from mixkd_plugin.tools.import_hf.import_hf import import_encoder

KD = [*FINE_TUNE, "--kd-weight", 1]
SECONDS, BYTES = 5, 10**9  # a busy machine takes its time


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.arguments = function, arguments

    def __reduce__(self):
        return self.arguments


def refusal(data, folder, *flags):
    """The error's message, which must be one line."""
    with pytest.raises(ValueError) as error:
        inprocess.start_training(toy.train_flags(data, folder, *flags))
    assert type(error.value) is ValueError and "\n" not in str(error.value)
    return str(error.value)


def accepts(data, folder, *flags):
    with pytest.raises(inprocess.ReachedFirstUpdateError):
        inprocess.start_training(toy.train_flags(data, folder, *flags))


def assert_matches(pattern, message):
    assert re.search(pattern, message), message


def one_sentence(call):
    """What is refused is refused by a ValueError of one line."""
    with pytest.raises(ValueError) as error:
        call()
    assert "\n" not in str(error.value)


def error_of(main, *words):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert isinstance(end.value.code, str) and "\n" not in end.value.code, end.value.code
    return end.value.code


def import_refused(tmp_path, *messages, source="hf", **options):
    """`mixkd import` of a folder: one line with these words, and nothing is left."""
    with pytest.raises(ValueError) as error:
        import_encoder(str(tmp_path / source), str(tmp_path / "out"), **options)
    assert all(message in str(error.value) for message in messages), error.value
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    return str(error.value)


@contextlib.contextmanager
def small_files(size):
    """No file of this process gets larger: as far as one without rights can get to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused_at_once(path, read=safe_load.read_checkpoint):
    """The message of one line, got at once and for little memory."""
    begun, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError) as error:
        read(str(path))
    assert time.process_time() - begun < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < BYTES
    message = str(error.value)
    assert str(path) in message and "\n" not in message and len(message) < 1000
    return message
