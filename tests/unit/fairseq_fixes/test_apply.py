"""What an installed fairseq lacks is supplied, and what it has is left alone."""

import os
import subprocess
import sys
import time
import types

import pytest
from fairseq.data import iterators
from slow_cases import slow
from toy import ROOT

from mixkd_plugin.fairseq_fixes import apply, import_error, loader_thread


@pytest.mark.parametrize(
    "fake",
    [
        "raise ImportError('No module named fairseq')",
        *slow("raise ValueError('mutable default CommonConfig for field common is not allowed')"),
    ],
)
def test_says_what_to_install_where_fairseq_cannot_be_imported(tmp_path, fake):
    (tmp_path / "fairseq.py").write_text(fake)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    done = subprocess.run(
        [sys.executable, "-c", "import mixkd_plugin"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: mixkd_plugin needs fairseq")
    assert "`pip install fairseq-fixed`" in last


def test_an_older_python_or_torch_is_refused_in_one_sentence(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(import_error, "TORCH_VERSION", (2, 5))
        with pytest.raises(ImportError, match=r"needs torch >= 2.6, got \S+: run .*torch`\.$"):
            import_error.check_versions()
    with monkeypatch.context() as patch:
        patch.setattr(import_error.sys, "version_info", (3, 10, 12))
        with pytest.raises(ImportError, match="needs Python >= 3.11"):
            import_error.check_versions()
    import_error.check_versions()


def test_compiled_batcher_is_left_alone(monkeypatch):
    name = "fairseq.data.data_utils_fast"
    compiled = types.ModuleType(name)
    compiled.__spec__ = object()
    monkeypatch.setitem(sys.modules, name, compiled)
    apply.supply_batcher()
    assert sys.modules[name] is compiled


@pytest.mark.parametrize("taken", [0, 3, 10])
def test_the_thread_that_reads_ahead_ends_with_the_process(taken):
    """Also where it waits for room, or for torch's workers to end."""

    class Source(list):
        def __iter__(self):
            yield from super().__iter__()
            time.sleep(0.2)

    ahead = iterators.BufferedIterator(2, Source(range(10)))
    ahead.total = 11
    ahead._create_consumer()
    assert [next(ahead) for _ in range(taken)] == list(range(taken))
    assert ahead._consumer.is_alive()
    loader_thread.end_consumers()
    assert not ahead._consumer.is_alive()
