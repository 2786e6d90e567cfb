"""Texts with words for which a toy back-translation has synonyms."""

import random

from encode_files import write_glue

# A language of 10 words, each of which is two English ones: the way back finds the common one.
CONCEPTS = range(10)
COMMON, RARE = [f"common{k}" for k in CONCEPTS], [f"rare{k}" for k in CONCEPTS]


def sentence(rng, common=0.6):
    concepts = [rng.choice(CONCEPTS) for _ in range(rng.randint(1, 4))]
    english = [(COMMON if rng.random() < common else RARE)[k] for k in concepts]
    return " ".join(english), " ".join(f"x{k}" for k in concepts)


def glue_of_sentences(folder, seed=3):
    rng = random.Random(seed)
    rows = [[sentence(rng)[0], str(rng.randint(0, 1))] for _ in range(60)]
    rows[7][0] = ""  # an empty text has no copy
    return write_glue(folder, ["sentence", "label"], rows, rows[:20])


def glue_of_pairs(folder):
    """Columns around the texts; a quotation mark and a carriage return in them."""
    rng, header = random.Random(4), ["index", "sentence1", "sentence2", "label"]
    names = ("entailment", "not_entailment")
    rows = [[str(i), *(sentence(rng)[0] for _ in range(2)), rng.choice(names)] for i in range(30)]
    rows[4][1] = 'rare1 "\rrare2'
    return write_glue(folder, header, rows, rows[:5])
