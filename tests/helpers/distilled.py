"""`mixkd distil` in the test process, and what its student must give when it is served."""

import argparse
import json
from pathlib import Path

import inprocess
import torch

from mixkd_plugin.tokenizers.subwords import build_tokenizer
from mixkd_plugin.tools.distil import build_parser, main, steps
from mixkd_plugin.tools.export.export import load
from mixkd_plugin.tools.export.texts import fairseq_row
from mixkd_plugin.tools.remembered import named_tokenizer

QUICK = ("--recipe", "kd", "--updates", "4", "--layers", "2", "--cpu", "--precision", "fp32")


def flags(**given):
    """The arguments of a command line with these."""
    return argparse.Namespace(**{**vars(build_parser().parse_args(["--out", "x"])), **given})


def table(path, header, rows):
    """A file of CSV; its path."""
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def train_here(monkeypatch):
    """Run the `fairseq-train` of `distil` in this process; a list that gets their folders."""
    folders = []

    def run_training(command, log, updates, text):
        words = command[3:]
        folders.append(Path(words[words.index("--save-dir") + 1]).name)
        with open(log, "a") as file:
            file.write(
                "".join(f"| {line}\n" for line in inprocess.run_training(words).splitlines())
            )

    monkeypatch.setattr(steps, "run_training", run_training)
    monkeypatch.setattr("mixkd_plugin.tools.distil.report.has_libraries", lambda *_: False)
    return folders


def distil(case, out, *flags):
    main(["--teacher", str(case.teacher), "--train", str(case.train), "--dev", str(case.dev),
          "--out", str(out), *QUICK, *map(str, flags)])  # fmt: skip
    return json.loads((out / "report" / "report.json").read_text())


def served_equals_fairseq(out, transformers, texts):
    """transformers' pipeline in OUT gives the logits of the fairseq student."""
    data = torch.load(out / "checkpoint.pt", weights_only=True)["cfg"]["task"]["data"]
    loaded = load(str(out / "checkpoint.pt"), data)
    tokenizer = build_tokenizer(named_tokenizer(data, None))
    rows = [fairseq_row(t, tokenizer, loaded.task)[None] for t in texts]
    ours = torch.cat([loaded.logits({"net_input": {"src_tokens": row}}) for row in rows])
    pipe = transformers.pipeline("text-classification", model=str(out), truncation=True)
    inputs = [t[0] if len(t) == 1 else {"text": t[0], "text_pair": t[1]} for t in texts]
    names = list(pipe.model.config.id2label.values())
    theirs = []
    for text in inputs:
        found = {r["label"]: r["score"] for r in pipe(text, top_k=None, function_to_apply="none")}
        theirs.append([found[name] for name in names])
    torch.testing.assert_close(torch.tensor(theirs), ours, atol=1e-4, rtol=1e-4)
    return pipe
