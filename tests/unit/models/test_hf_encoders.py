"""Encoders of transformers: logits, mixing and padding of each family."""

from types import SimpleNamespace

import hf_encoders
import pytest
import torch
from hf_encoders import dictionary_of

from mixkd_plugin.mixup import Mix
from mixkd_plugin.models.encode import logits_of
from mixkd_plugin.models.hf_folder import layout_of, read_as_checkpoint
from mixkd_plugin.models.rebuild import build

HEAD = "head"
TEXTS = [("w1 w2 w3",), ("w4 w5 w6 w7 w8 w9",), ("w1 w2", "w3 w4 w5"), ("w9 w8 w7", "w6")]


def rebuilt(folder, dictionary, classes=2):
    """What a run makes of hf:FOLDER."""
    state = read_as_checkpoint(str(folder), dictionary, HEAD, None)
    task = SimpleNamespace(source_dictionary=dictionary)
    return build(state["cfg"]["model"], state["model"], HEAD, classes, task)


def tokens_of(dictionary, layout, texts, width=0):
    row = [layout["init_token"]]
    for i, text in enumerate(texts):
        row += [layout["separator_token"]] if i and layout["separator_token"] is not None else []
        row += [*map(dictionary.index, text.split()), dictionary.eos()]
    return torch.tensor([row + [dictionary.pad()] * (width - len(row))])


@pytest.mark.parametrize("kind", hf_encoders.FAMILIES)
@torch.no_grad()
def test_logits_of_texts_pairs_and_mixes(tmp_path, transformers, kind):
    theirs = hf_encoders.write_classifier(kind, tmp_path, transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    dictionary, layout = dictionary_of(), layout_of(str(tmp_path))
    ours = rebuilt(tmp_path, dictionary)
    assert ours.max_positions() == layout["max_positions"]

    rows = [tokens_of(dictionary, layout, texts) for texts in TEXTS]
    wanted = torch.cat([theirs(**tokenizer(*t, return_tensors="pt")).logits for t in TEXTS])
    found = torch.cat([logits_of(ours, HEAD, row, None, True) for row in rows])
    assert (found - wanted).abs().max() < 1e-5
    assert wanted.std(dim=0).min() > 1e-2, "the texts make no difference"
    padded = torch.cat([tokens_of(dictionary, layout, texts, 16) for texts in TEXTS])
    states: list = []
    found = logits_of(ours, HEAD, padded, None, True, states)
    assert (found - wanted).abs().max() < 1e-5
    _assert_states(states, theirs, tokenizer)

    partners = padded.flip(0)
    lengths = [rows.ne(dictionary.pad()).sum(dim=1) for rows in (padded, partners)]
    for lam in (1.0, 0.3):
        mix = Mix(partners, torch.full((len(padded),), lam, dtype=torch.float64))
        clean, mixed = mix.split_logits(logits_of(ours, HEAD, padded, mix, True))
        assert (clean - wanted).abs().max() < 1e-5
        difference = (mixed - wanted).abs().amax(dim=1)
        assert (difference[lengths[0] >= lengths[1]].max() < 1e-5) == (lam == 1.0)
        assert (mixed - _mixed(theirs, tokenizer, lam)).abs().max() < 1e-5
        narrow = Mix(partners[:, :9], mix.lam, False)
        assert (logits_of(ours, HEAD, padded[:, :9], narrow, True) - mixed).abs().max() < 1e-5


def _assert_states(states, theirs, tokenizer):
    """Those of padded TEXTS against transformers' of each text alone."""
    for row, texts in enumerate(TEXTS):
        batch = tokenizer(*texts, return_tensors="pt")
        _, *wanted = theirs(**batch, output_hidden_states=True).hidden_states
        assert len(states) == len(wanted)
        for state, expected in zip(states, wanted):
            length = expected.size(1)
            assert (state[row, :length] - expected[0]).abs().max() < 1e-5
            assert not state[row, length:].any()


def _mixed(theirs, tokenizer, lam):
    """The logits of mixes of TEXTS and their reverse, from transformers' own embeddings."""
    words, logits = theirs.get_input_embeddings(), []
    types = [m for n, m in theirs.named_modules() if n.endswith("token_type_embeddings")]
    for both in zip(TEXTS, TEXTS[::-1]):
        batches = [tokenizer(*texts, return_tensors="pt") for texts in both]
        width = max(batch["input_ids"].size(1) for batch in batches)
        mixed = torch.zeros(1, width, words.embedding_dim)
        for batch, weight in zip(batches, (lam, 1 - lam)):
            embeddings = words(batch["input_ids"])
            if types and types[0].num_embeddings == 2:
                embeddings = embeddings + types[0](batch["token_type_ids"])
            mixed[:, : embeddings.size(1)] += weight * embeddings
        if types and types[0].num_embeddings == 2:  # which the model adds everywhere
            mixed -= types[0].weight[0]
        logits.append(theirs(inputs_embeds=mixed, attention_mask=torch.ones(1, width)).logits)
    return torch.cat(logits)
