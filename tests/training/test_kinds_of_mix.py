"""Mixes that are texts, in real runs: equal for any batches, workers and processes."""

import shutil

import pytest
import toy
from recorded_train import batches_of, by_epoch, recorded, recorded_by_two
from two_vocabularies import add_second_text, texts_of

from mixkd_plugin.data.mixup_plan import Examples, draw_plan

KINDS = ["--mixup-kind", "splice:span:interpolate", "--mixup-ratio", 2, "--tmkd-weight", 0]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    return add_second_text(toy.make_data(folder / "data", {"train": 61, "valid": 19}))


def rows(batches):
    """Sorted (epoch, id, partner's id, lam, is it a text?, its tokens or the partner's)."""
    found = []
    for epoch, batch in batches:
        partner, ratio = batch["partner"], len(batch["lam"]) // len(batch["id"])
        tokens = [
            tuple(t for t in row if t != 1) for row in partner["net_input"]["src_tokens"].tolist()
        ]
        columns = batch["id"].tolist() * ratio, partner["id"].tolist(), batch["lam"].tolist()
        found += zip([epoch] * len(tokens), *columns, batch["is_text"].tolist(), tokens)
    return sorted(found)


def test_mixes_are_equal_for_any_batches_and_workers(tmp_path, pairs):
    flags = toy.train_flags(pairs, tmp_path, *KINDS, "--separator-token", 2, "--no-save")
    first = batches_of(flags)
    flags += ["--max-tokens", 150, "--update-freq", 3, "--num-workers", 2]
    flags += ["--batch-by-length", "off", "--required-batch-size-multiple", 1]
    other = batches_of(flags)
    assert rows(first) == rows(other) and len(rows(first)) == 2 * 2 * 61
    for _, batch in other:
        texts = batch["net_input"]["src_tokens"], batch["partner"]["net_input"]["src_tokens"]
        assert sum(map(len, texts)) * max(t.size(1) for t in texts) <= 150


@pytest.mark.parametrize("separators", [["--separator-token", 2], []], ids=["</s> </s>", "</s>"])
def test_pairs_are_spliced_text_by_text(tmp_path, pairs, separators):
    """Against the raw texts and the plan."""
    texts = [[text.split() for text in of_one] for of_one in texts_of(pairs, "train")]
    plan = draw_plan(Examples(*[range(61)] * 3), 1, 0.4, "random", seed=1, epoch=1, kinds=1)
    numbers = {word: 4 + i for i, word in enumerate(toy.WORDS)}
    flags = ["--mixup-kind", "splice", "--tmkd-weight", 0, "--max-epoch", 1, *separators]
    seen = 0
    for _, batch in batches_of(toy.train_flags(pairs, tmp_path, *flags)):
        assert batch["is_text"] is True
        partner = batch["partner"]["net_input"]
        for m, i in enumerate(batch["id"].tolist()):
            lam, kept, expected = plan.lam[i, 0], 0, []
            for own, other in zip(texts[i], texts[plan.partners[i, 0]]):
                # the texts of a pair are equally long, and 2n * lam is rounded for both
                k = [int(lam * n + 0.5) for n in (len(own), 2 * len(own))]
                j = [int(lam * n + 0.5) for n in (len(other), 2 * len(other))]
                k, j = (k[0], j[0]) if not expected else (k[1] - k[0], j[1] - j[0])
                expected.append([numbers[word] for word in own[:k] + other[j:]])
                kept += k
            between = [2, 2] if separators else [2]
            row = [0, *expected[0], *between, *expected[1], 2]
            length = int(partner["src_lengths"][m])
            assert partner["src_tokens"][m, :length].tolist() == row
            assert batch["lam"][m] == kept / sum(map(len, expected))
            seen += 1
    assert seen == 61


def test_a_beginning_in_the_data_is_no_word(tmp_path):
    """fairseq-preprocess keeps <s>; without --init-token the head reads that one."""
    data = toy.make_data(tmp_path / "data", {"train": 31, "valid": 9})
    files = [data / "raw" / f"{split}.text" for split in ("train", "valid")]
    for file in files:
        file.write_text("".join(f"<s> {line}\n" for line in file.read_text().splitlines()))
    shutil.rmtree(data / "input0")
    toy.preprocess(data, *files, data / "raw" / "dict.txt", "input0")
    kinds = ["--mixup-kind", "splice:span", "--tmkd-weight", 0, "--max-epoch", 1]
    flags = toy.train_flags(data, tmp_path / "s", *kinds)
    at = flags.index("--init-token")
    found = batches_of([*flags[:at], *flags[at + 2 :]])
    rows = [r for _, b in found for r in b["partner"]["net_input"]["src_tokens"].tolist()]
    assert len(rows) == 31 and all(row[0] == 0 and row.count(0) == 1 for row in rows)


@pytest.mark.slow
def test_the_same_in_two_processes(tmp_path, classification):
    one, two = (toy.train_flags(classification, tmp_path / n, *KINDS) for n in ("one", "two"))
    records, logs = recorded_by_two(two)
    assert by_epoch(records) == by_epoch(recorded(one))
    assert 0 < toy.last_values(logs[0], "train")["sm_loss"] < 2
