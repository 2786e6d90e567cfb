"""export: what is refused, and what the comparison allows; nothing is left behind."""

import shutil
import sys

import hf_models
import pytest
import torch
from refusals import small_files
from taught import with_settings

from mixkd_plugin.tools.export import main
from mixkd_plugin.tools.export.export import export
from mixkd_plugin.tools.export.parity import check_parity


def refused(student, tmp_path, message, to="hf", **changes):
    out = tmp_path / "out"
    arguments = {"checkpoint": student.checkpoint, "tokenizer_spec": student.tokenizer, **changes}
    with pytest.raises(ValueError) as error:
        export(out=str(out), to=to, **arguments)
    assert message in str(error.value)
    assert not out.exists()


def test_refusals(tmp_path, student, monkeypatch):
    refused(student, tmp_path, "does not exist", checkpoint=str(tmp_path / "none.pt"))
    refused(student, tmp_path, "--tolerance must be >=", tolerance=0.0)
    refused(student, tmp_path, "without input0/dict.txt", data=str(tmp_path))
    refused(student, tmp_path, "--text: no file nowhere", text="nowhere")
    (tmp_path / "texts").write_text("a\tb\tc\n")
    refused(student, tmp_path, "--text must have a text, or a pair", text=str(tmp_path / "texts"))
    (tmp_path / "texts").write_text("the " * 600 + "\n")
    other = tmp_path / "other"  # of which the student's dictionary has nothing
    other.mkdir()
    hf_models.write_byte_pairs(other)
    refused(student, tmp_path, "--tokenizer must be the one", tokenizer_spec=f"gpt2:{other}")
    (tmp_path / "texts").write_text("\n".join(hf_models.TEXTS), encoding="utf-8")
    given = {"text": str(tmp_path / "texts"), "tokenizer_spec": f"gpt2:{other}"}
    refused(student, tmp_path, "not in the student's dictionary", **given)
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(student, tmp_path, "needs transformers", to="hf")


@pytest.mark.slow
def test_a_torch_that_fixes_the_lengths_is_refused(tmp_path, student, monkeypatch):
    """As the exporter of torch 2.6 does, without an error."""
    pytest.importorskip("onnxscript")
    ours = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, dynamic_shapes, **k: ours(*a, **k))
    refused(student, tmp_path, "--to onnx needs a newer torch", to="onnx")


def test_damaged_texts(tmp_path, student):
    data = shutil.copytree(student.data, tmp_path / "data")
    for name in ("valid.bin", "valid.idx"):
        path = data / "input0" / name
        path.write_bytes(b"\xff" * path.stat().st_size)
        refused(student, tmp_path, f"{data}/input0/valid.bin", data=str(data))


@pytest.mark.parametrize("size", [500, 50_000], ids=["tokenizer", "model"])
def test_files_may_not_grow(tmp_path, student, size):
    """As on a full disk; the library that writes the tokenizer raises no OSError."""
    with small_files(size):
        refused(student, tmp_path, f"{tmp_path / 'out'} cannot be written: ")


def test_bounds_of_the_comparison():
    """1e-4 where weights are float32; in int8 the logits' range, for a regression a fifth of it."""
    wanted = torch.tensor([[2.0, -1.0], [-3.0, 1.0]])
    for to, bound in {"hf": 1e-4, "onnx": 1e-4, "onnx-int8": 5.0}.items():
        parity = check_parity(wanted, wanted + 0.9 * bound, to, None, True)
        assert parity.difference == pytest.approx(0.9 * bound, rel=1e-3) and parity.agreement == 1
        with pytest.raises(ValueError, match="--tolerance must be"):
            check_parity(wanted, wanted + 1.1 * bound, to, None, True)
    assert check_parity(wanted, wanted + 0.9, "onnx-int8", None, False).bound == 1  # a regression
    with pytest.raises(ValueError, match="--tolerance must be"):
        check_parity(wanted, wanted + 1.1, "onnx-int8", None, False)
    with pytest.raises(ValueError, match="--tolerance must be >= nan"):
        check_parity(wanted, wanted * float("nan"), "hf", None, True)


def test_an_encoder_without_a_head_is_refused(tmp_path, student, transformers):
    from mixkd_plugin.tools.import_hf.import_hf import import_encoder

    hf_models.make("bert", tmp_path / "hf", transformers, head="")
    import_encoder(str(tmp_path / "hf"), str(tmp_path / "encoder"))
    message = "has no classification head"
    refused(student, tmp_path, message, checkpoint=str(tmp_path / "encoder" / "model.pt"))


@pytest.mark.parametrize(
    "name, value, flag",
    [
        ("pooler_activation_fn", "gelu", "--pooler-activation-fn must be tanh or relu"),
        ("pooler_activation_fn", "relu", "--layer-norm-eps must be 1e-12"),  # DistilBERT's
        ("activation_fn", "tanh", "cannot have --activation-fn tanh"),
    ],
)
def test_a_student_that_transformers_cannot_have(tmp_path, student, name, value, flag):
    """The settings decide what is built."""
    path = with_settings(tmp_path / "other.pt", student.checkpoint, "model", **{name: value})
    refused(student, tmp_path, flag, to="hf", checkpoint=str(path))


@pytest.mark.slow
def test_onnx_has_any_activation_of_the_head(tmp_path, student):
    pytest.importorskip("onnxruntime")
    relu = {"pooler_activation_fn": "relu"}
    path = with_settings(tmp_path / "relu.pt", student.checkpoint, "model", **relu)
    export(str(path), str(tmp_path / "out"), "onnx", student.tokenizer)


@pytest.mark.parametrize("flag", ["--min-agreement", "--tolerance"])
def test_bounds_are_numbers(tmp_path, flag):
    for value in ("nan", "-1"):
        with pytest.raises(SystemExit, match=rf"{flag} must be in \[0, .*, got {value}"):
            main(["x.pt", str(tmp_path / "out"), "--to", "hf", f"{flag}={value}"])


@pytest.mark.parametrize("to", ["torchscript", "pdf"])
def test_other_formats_are_named(tmp_path, student, to, capsys):
    arguments = [student.checkpoint, str(tmp_path / "out"), "--to", to]
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--tokenizer", student.tokenizer])
    said = capsys.readouterr().err
    assert "--to" in said and to in said and "onnx-int8" in said
