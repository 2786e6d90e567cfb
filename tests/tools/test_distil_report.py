"""What `distil` leaves in --out, and what it leaves alone."""

from types import SimpleNamespace

from mixkd_plugin.tools.distil.report import Report
from mixkd_plugin.tools.distil.steps import Steps


def test_only_an_onnx_folder_of_its_own_is_removed(tmp_path, monkeypatch):
    def export(steps, name, text, words, output, *_):
        output.mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "model.onnx"):
            (output / file).write_text("{}")

    def run(onnx):
        plan, taught = SimpleNamespace(onnx=onnx, int8=False), SimpleNamespace(made_by=())
        best, steps = SimpleNamespace(checkpoint="best.pt"), Steps(tmp_path)
        Report(steps, plan, None, taught, tmp_path, tmp_path, [], [], best, []).export_onnx()
        return {path.name for path in tmp_path.glob("onnx/*")}

    monkeypatch.setattr(Steps, "tool", export)
    assert run(True) >= {"config.json", "model.onnx"}
    assert run(False) == set()  # of an earlier student
    (tmp_path / "onnx").mkdir()
    for name in ("model.onnx", "mine.txt"):
        (tmp_path / "onnx" / name).write_text("mine")
    assert run(False) == {"model.onnx", "mine.txt"}
    assert run(True) == run(False) == {"config.json", "model.onnx", "mine.txt"}


def test_commands_have_paths_relative_to_their_folder(tmp_path):
    out = tmp_path / "student"
    steps = Steps(out)
    steps.note("encode", "--tokenizer", f"hf:{out}/work/teacher", f"--out={out}/work/data")
    steps.note("import", f"/models{out}/hf", "--out", f"{out}/work/teacher")
    *_, encode, imported = (out / "commands.sh").read_text().splitlines()
    assert encode == "encode --tokenizer hf:work/teacher --out=work/data"
    assert imported == f"import /models{out}/hf --out work/teacher"
