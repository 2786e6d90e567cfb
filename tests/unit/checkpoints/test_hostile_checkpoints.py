"""Files that are damaged or cost much: one sentence, at once."""

import collections
import os
import pickle
import struct
import zipfile

import pytest
import torch
from fairseq.dataclass.configs import CheckpointConfig
from refusals import KD, Call, accepts, refusal, refused_at_once
from slow_cases import slow
from tiny_models import checkpoint

from mixkd_plugin.checkpoints import configured, pickle_scan, recovery, safe_load

# --- damage ---


def zipped(path, **changes):
    torch.save(checkpoint(**changes), path)
    return path


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return archive.infolist(), archive.start_dir


def test_a_bit_of_any_part_of_a_zip(tmp_path):
    """torch itself would take it."""
    whole = zipped(tmp_path / "whole.pt").read_bytes()
    reader = torch._C.PyTorchFileReader(str(tmp_path / "whole.pt"))
    for info in parts_of(tmp_path / "whole.pt")[0]:
        name = info.filename.partition("/")[2]
        place = reader.get_record_offset(name) + info.file_size // 2
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "bit.pt").write_bytes(damaged)
        assert "damaged" in refused_at_once(tmp_path / "bit.pt"), name


def test_bits_of_headers(tmp_path):
    """Of the last part and the directory: one sentence, or what was saved (a date says nothing)."""
    path = zipped(tmp_path / "whole.pt")
    whole, (parts, start) = path.read_bytes(), parts_of(path)
    header = parts[-1].header_offset
    for place in (*range(header, header + 30), *range(start, len(whole))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "bit.pt").write_bytes(damaged)
        try:
            state = safe_load.read_checkpoint(str(tmp_path / "bit.pt"))
        except ValueError as error:
            assert "bit.pt" in str(error) and "\n" not in str(error)
        else:
            assert torch.equal(state["model"]["weight"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize("field", [10, 16])  # compression method; checksum
def test_a_damaged_directory_is_no_dead_end_of_a_resume(tmp_path, field):
    other = zipped(tmp_path / "checkpoint1.pt")
    path = zipped(tmp_path / "checkpoint_last.pt")
    damaged, start = bytearray(path.read_bytes()), parts_of(path)[1]
    damaged[start + field] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"{path} is damaged.* --restore-file {other} "):
        recovery.find(CheckpointConfig(save_dir=str(tmp_path)))


def test_a_damaged_teacher_is_refused(tmp_path, classification, teacher):
    damaged = bytearray(teacher.read_bytes())
    reader = torch._C.PyTorchFileReader(str(teacher))
    damaged[reader.get_record_offset("data/1") + 2] ^= 1
    (tmp_path / "t.pt").write_bytes(damaged)
    accepts(classification, tmp_path / "s", *KD, "--teacher-path", teacher)
    for flag in ("--teacher-path", "--student-init-path"):
        flags = [*KD, "--teacher-path", teacher, flag, tmp_path / "t.pt"]
        assert "damaged" in refusal(classification, tmp_path / "s", *flags)


def test_parts_are_neither_packed_nor_shared(tmp_path):
    zipped(tmp_path / "whole.pt")
    packed = zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "whole.pt") as old, packed as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    refused_at_once(tmp_path / "packed.pt")


# --- little files that cost much ---


def doubled(times):
    """A tuple that holds its former self twice: hashing it takes 2 ** times steps."""
    made = b")"
    for i in range(times):
        made += b"r" + struct.pack("<I", i) + b"j" + struct.pack("<I", i) + b"\x86"
    return made


PICKLES = {
    "nested a million deep": b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"K\x01s.",
    "lists nested a million deep": b"\x80\x02}" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "hash of 2 ** 60 steps": b"\x80\x02}" + doubled(60) + b"K\x01s.",
    "bytearray": b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "a tensor of nothing": b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
    "a storage of nothing": b"\x80\x02ctorch.storage\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R.",
    "a million parts": b"\x80\x02" + b"K\x010" * 1_000_000 + b"N.",
    "numpy's own type": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00M8\x85R.",
    "an unknown operation": b"\x80\x04\x95" + b"\x00" * 8 + b".",
    "numbers of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xffa.",
    "nothing on the stack": b"\x80\x02a.",
    "a memo of nothing": b"\x80\x02h\x07.",
    "no end": b"\x80\x02N",
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("kind", ["zip", *slow("legacy", "main of legacy")])
def test_pickles_that_cost_much(tmp_path, name, kind):
    path = tmp_path / "x.pt"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("x/data.pkl", PICKLES[name])
            archive.writestr("x/version", "3\n")
    else:
        before = [torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {}]
        start = b"".join(pickle.dumps(value, protocol=2) for value in before)
        path.write_bytes((start if "main" in kind else b"") + PICKLES[name])
    refused_at_once(path)


def test_lists_that_are_filled_when_others_hold_them():
    """Each of 60 holds the next one twice: to print them takes 2 ** 60 steps."""
    empty = b"".join(b"]q" + bytes([i]) for i in range(61))
    fill = b"".join(
        b"h" + bytes([i]) + b"(h" + bytes([i + 1]) + b"h" + bytes([i + 1]) + b"e" for i in range(60)
    )
    with pytest.raises(TypeError):  # a DamagedError of the file that has it
        pickle_scan.scan(b"\x80\x02" + empty + fill + b"h\x00.", set())


@pytest.mark.parametrize("key", [(1, 2), 3, b"x", None, 2.5])
def test_names_that_are_no_text(tmp_path, save, key):
    save({key: 1}, tmp_path / "x.pt")
    refused_at_once(tmp_path / "x.pt")
    save(checkpoint(model={key: torch.ones(1)}), tmp_path / "x.pt")
    refused_at_once(tmp_path / "x.pt", configured.read_configured)


@pytest.mark.parametrize(
    "model",
    [
        {"w": torch.ones(1).expand(10**12)},
        {"w": torch.ones(1, 5).expand(3, 5)},
        {"w": torch.ones(3, dtype=torch.complex64)},
        {"w": torch.ones(3, 3).to_sparse()},
        {"w": torch.empty(3, device="meta")},
        {"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        {"w": [1.0]},
        {"w": None},
        {f"w{i}": value for value in [torch.ones(9999)] for i in range(500)},
        collections.OrderedDict(w="text"),
    ],
)
def test_weights_that_are_none(tmp_path, model):
    torch.save(checkpoint(model=model), tmp_path / "x.pt")
    refused_at_once(tmp_path / "x.pt", configured.read_configured)


@pytest.mark.parametrize(
    "changes",
    [
        dict(model=[]),
        dict(cfg=3),
        dict(cfg={"model": {}}),
        dict(cfg={"model": [1]}),
        dict(cfg={"model": {"a": dict.fromkeys(map(str, range(200_000)))}}),
        dict(optimizer_history=3),
        dict(optimizer_history=[3]),
        dict(task_state=[]),
        *(dict(task_state={"fingerprint": {"labels": its}}) for its in ([0, 1], "01", 0, {})),
        dict(extra_state=3),
    ],
)
def test_contents_that_are_no_checkpoint(tmp_path, save, changes):
    save(checkpoint(**changes), tmp_path / "x.pt")
    refused_at_once(tmp_path / "x.pt", configured.read_configured)


def test_the_environment_allows_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "was_run"
    torch.save(checkpoint(extra_state={"a": Call(os.mkdir, str(marker))}), tmp_path / "x.pt")
    refused_at_once(tmp_path / "x.pt")
    assert not marker.exists()
