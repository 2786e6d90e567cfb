"""Checkpoints are read, and nothing in them is run."""

import argparse
import io
import os
import pickle
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.distributed import utils as distributed_utils
from omegaconf import OmegaConf
from refusals import Call, refused_at_once
from tiny_models import checkpoint

from mixkd_plugin.checkpoints import configured, pickle_scan, safe_load


def test_reads_what_was_saved(tmp_path, save):
    path = tmp_path / "checkpoint.pt"
    saved = checkpoint()
    save(saved, path)
    loaded = safe_load.read_checkpoint(str(path))
    torch.testing.assert_close(loaded["model"], saved["model"], rtol=0, atol=0)
    assert loaded["extra_state"]["val_loss"] == 0.5
    assert loaded["cfg"]["model"].encoder_layers == 2
    assert loaded["cfg"]["task"]["data"] == "here"


def test_reads_a_tensor_with_an_attribute(tmp_path, save):
    """fairscale marks each parameter that it has gathered."""
    weight = torch.arange(3.0)
    weight._has_been_cloned = True
    save(checkpoint(model={"weight": weight}), tmp_path / "checkpoint.pt")
    loaded = safe_load.read_checkpoint(str(tmp_path / "checkpoint.pt"))
    assert torch.equal(loaded["model"]["weight"], weight)


def test_reads_old_checkpoints_with_args(tmp_path, save):
    path = tmp_path / "checkpoint.pt"
    save(checkpoint(cfg=None, args=argparse.Namespace(arch="roberta_base", data="here")), path)
    state = configured.read_configured(str(path))
    assert state["cfg"]["task"]["data"] == "here" and state["args"] is None


def test_reads_published_weights_without_records_of_training(tmp_path, save):
    path = tmp_path / "checkpoint.pt"
    kept = {name: checkpoint()[name] for name in ("model", "cfg")}
    save(kept, path)
    loaded = safe_load.read_checkpoint(str(path))
    assert torch.equal(loaded["model"]["weight"], kept["model"]["weight"])
    assert loaded["cfg"]["model"].encoder_layers == 2


def test_default_loading_accepts_fairseq_and_nothing_more(tmp_path):
    torch.save(checkpoint(), tmp_path / "good.pt")
    assert torch.load(tmp_path / "good.pt")["cfg"]["model"].encoder_layers == 2
    torch.save(checkpoint(args=Call(os.mkdir, "never")), tmp_path / "bad.pt")
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        torch.load(tmp_path / "bad.pt")


def test_what_the_first_process_sends_when_several_resume():
    config = OmegaConf.create(
        {"model": {"layers": 2, "names": ["a", None]}, "any": argparse.Namespace(x=1)},
        flags={"allow_objects": True},
    )
    state = checkpoint(cfg=config, extra_state={"meters": defaultdict(int, a=1)})
    tensors = []
    skeleton = distributed_utils._split_tensors_from_obj(state, tensors)
    buffer = io.BytesIO()
    torch.save(skeleton, buffer)
    buffer.seek(0)
    received = distributed_utils._put_tensors_in_obj(torch.load(buffer), tensors)
    assert received["cfg"] == config
    assert torch.equal(received["model"]["weight"], state["model"]["weight"])


# -- Files that would run code ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["args", "model", "extra_state"])
def test_malicious_checkpoint_is_refused_and_not_run(tmp_path, save, where):
    marker = tmp_path / "was_run"
    path = tmp_path / "evil.pt"
    save(checkpoint(**{where: Call(os.mkdir, str(marker))}), path)
    message = refused_at_once(path)
    assert "posix.mkdir" in message or "nt.mkdir" in message
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file is armed
    assert marker.exists()


def test_malicious_plain_pickle_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "was_run"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Call(os.mkdir, str(marker)), protocol=2))
    assert "mkdir" in refused_at_once(tmp_path / "evil.pt")
    assert not marker.exists()
    pickle.loads((tmp_path / "evil.pt").read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.getattr",
        "torch.storage._load_from_bytes",  # torch.load under another name
        "torch.load",
        "fairseq.file_io.PathManager",
        "os.system",
        "builtins.bytearray",  # that torch allows: gigabytes of one number
    ],
)
def test_names_that_no_checkpoint_needs_are_refused(name):
    module, _, last = name.rpartition(".")
    with pytest.raises(pickle_scan.UnsafePickleError, match=f"would load {name}"):
        pickle_scan.scan(f"c{module}\n{last}\n.".encode(), safe_load.ALLOWED)


def test_other_scalars_are_refused(tmp_path):
    with pytest.raises(ValueError):
        safe_load._NumberType("O8")
    kind = safe_load._NumberType("f4")
    kind.__setstate__((3, "<", None, None, None, -1, -1, 0))
    assert safe_load._number(kind, np.float32(0.25).tobytes()) == 0.25


# -- Files that are not checkpoints ----------------------------------------------------------------


def write_text(path):
    path.write_text("The quick brown fox\n" * 20)


def write_other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "pickle")


def saving(value):
    return lambda path: torch.save(value, path)


@pytest.mark.parametrize(
    "write, reason",
    [
        (lambda path: None, "does not exist"),
        (Path.mkdir, "folder"),
        (Path.touch, "empty"),
        (write_text, "not begin as one; a Hugging Face model is named by its folder"),
        (write_other_zip, "not a fairseq checkpoint"),
        (write_tar, "not a fairseq checkpoint"),
        (lambda path: torch.jit.script(torch.nn.Linear(1, 1)).save(str(path)), "TorchScript"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2], 2)), "not a fairseq checkpoint"),
        (saving([1, 2]), "list, not a dict"),
        (saving({"state_dict": {}}), "no 'model', only state_dict; a Hugging Face model is named"),
        (saving({}), "no 'model', only nothing"),
        (saving({"model": {}, "args": None}), "neither 'args' nor 'cfg'"),
    ],
)
def test_other_files_are_named(tmp_path, write, reason):
    write(tmp_path / "x.pt")
    assert reason in refused_at_once(tmp_path / "x.pt")


def test_truncated_file_is_refused(tmp_path, save):
    save(checkpoint(), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for length in range(1, len(whole), len(whole) // 40):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        refused_at_once(tmp_path / "cut.pt")
