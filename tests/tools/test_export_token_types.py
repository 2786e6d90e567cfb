"""A BERT classifier of pairs goes in and comes out: the same weights, types and logits."""

import json

import hf_models
import pytest
import torch
from encode_files import encode_table
from refusals import error_of

from mixkd_plugin.__main__ import main as cli
from mixkd_plugin.tools import scoring
from mixkd_plugin.tools import serving_report as report
from mixkd_plugin.tools.batches import make_batches
from mixkd_plugin.tools.export.export import export, open_export
from mixkd_plugin.tools.import_hf.import_hf import import_encoder


class Imported:
    """A BERT of random weights, its import, and data of pairs."""

    def __init__(self, folder, transformers):
        # with BERT's own epsilon an import may multiply all embeddings by a power of two
        self.source = hf_models.make("bert", folder / "hf", transformers, layer_norm_eps=1e-5)
        import_encoder(str(folder / "hf"), str(folder / "in"))
        self.checkpoint, self.tokenizer = str(folder / "in" / "model.pt"), f"hf:{folder / 'in'}"
        rows = [(*pair, i % 2) for i, pair in enumerate(hf_models.PAIRS)]
        self.data = str(folder / "data")
        encode_table(folder / "t.tsv", rows, self.tokenizer, self.data, max_tokens=80)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "hf")
        self.batch = tokenizer(*zip(*hf_models.PAIRS), padding=True, return_tensors="pt")
        with torch.no_grad():
            self.logits = self.source(**self.batch).logits

    def export(self, out, to, **options):
        export(self.checkpoint, str(out), to, self.tokenizer, self.data, **options)
        return out


@pytest.fixture(scope="module")
def imported(tmp_path_factory, transformers):
    return Imported(tmp_path_factory.mktemp("bert"), transformers)


@torch.no_grad()
def test_the_same_model_comes_out(tmp_path, transformers, imported):
    out = imported.export(tmp_path / "out", "hf")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert type(model) is transformers.BertForSequenceClassification
    before, after = imported.source.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    for name, values in after.items():  # without rows of words that no token has
        assert torch.equal(values, before[name][: len(values)]), name
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    batch = tokenizer(*zip(*hf_models.PAIRS), padding=True, return_tensors="pt")
    torch.testing.assert_close(batch, imported.batch, rtol=0, atol=0)
    assert (model(**batch).logits - imported.logits).abs().max() < 1e-6
    assert not tokenizer(hf_models.TEXTS[:1])["token_type_ids"][0].count(1)

    import_encoder(str(out), str(tmp_path / "again"))
    files = imported.checkpoint, tmp_path / "again" / "model.pt"
    first, again = (torch.load(file, weights_only=False)["model"] for file in files)
    of_words = ("embed_tokens.weight", "lm_head.weight", "lm_head.bias")
    for name in (name for name in first if not name.endswith(of_words)):
        assert torch.equal(first[name], again[name]), name


def test_predict_refuses_a_text_that_spells_the_separator(tmp_path, imported):
    """What follows would have the type of the second text: the export gives it the first one's."""
    words = ["predict", imported.checkpoint, "--data", imported.data, "--tokenizer"]
    words += [imported.tokenizer, str(tmp_path / "a.csv")]
    for text, refused in (("the [SEP] soup", True), ("the soup", False)):
        (tmp_path / "a.csv").write_text(f"sentence1,sentence2\n{text},cold\n")
        if refused:
            assert "must not spell the separator" in error_of(cli, *words)
        else:
            cli(words)


@pytest.mark.slow
def test_onnx_has_the_usual_inputs(tmp_path, imported):
    runtime = pytest.importorskip("onnxruntime")
    out = imported.export(tmp_path / "out", "onnx")
    session = runtime.InferenceSession(out / "model.onnx")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    assert [node.name for node in session.get_inputs()] == names
    for rows in (slice(None), slice(3, 4)):
        inputs = {name: imported.batch[name][rows].numpy() for name in names}
        found = torch.from_numpy(session.run(None, inputs)[0])
        assert (found - imported.logits[rows]).abs().max() < 1e-5


@pytest.mark.slow
def test_int8_and_what_compares_exports(tmp_path, imported):
    """From the student's own tokens, as serving_report does."""
    pytest.importorskip("onnxruntime")
    report.main([
        imported.data, f"teacher={imported.checkpoint}", "--out", str(tmp_path), "--tokenizer",
        imported.tokenizer, "--formats", "fairseq,hf,onnx", "--rounds", "1",
    ])  # fmt: skip
    rows = json.loads((tmp_path / "serving.json").read_text())["models"]
    assert [row["agreement"] for row in rows.values()] == [100, 100, 100]
    loaded = scoring.load(imported.checkpoint, imported.data)
    int8 = imported.export(tmp_path / "int8", "onnx-int8", tolerance=9.0, min_agreement=0.0)
    for form, folder, bound in (
        ("onnx", tmp_path / "exports" / "teacher" / "onnx", 1e-5), ("onnx-int8", int8, 9.0)
    ):  # fmt: skip
        served = open_export(str(folder), form, loaded, imported.tokenizer)
        for batch in make_batches(loaded.task, "valid", 3):
            difference = served(batch["net_input"]["src_tokens"]) - loaded.logits(batch)
            assert difference.abs().max() < bound
