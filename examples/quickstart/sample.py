"""Write the quickstart's own labelled sample, in GLUE's SST-2 layout: train.tsv and dev.tsv.

    python sample.py OUT_DIR [--train 6000] [--dev 800] [--seed 1]

Opinions about films, places to eat, things and stays, composed by the rules below; label 1 is a
good verdict, 0 a bad one. The sentences are ours and free to use. Words alone do not decide: most
constructions turn the opinion word around (negation, contrast, conditions, other people's views,
comparison), and each comes as often with either label. Six in a hundred training labels are wrong,
as labels by hand are. The dev set's labels are right, and it has opinion words, subjects and
phrasings of its own. The same arguments give the same files on every machine.
"""

import argparse
import os
import random

WRONG_LABELS = 0.06  # share of the training set
# In every table: of the training set | of the dev set alone.
GOOD = """good wonderful charming brilliant impressive enjoyable pleasant solid memorable satisfying
beautiful clever elegant thoughtful inspired convincing polished rewarding admirable agreeable
remarkable sensational nice fabulous terrific fine perfect awesome stylish lively exciting
fascinating touching inspiring worthy sweet gorgeous tasteful captivating graceful heartwarming
first-rate sublime commendable
| great fantastic excellent magnificent lovely outstanding amazing splendid delightful superb
marvelous stunning flawless engaging exquisite refreshing"""
BAD = """bad poor dull weak clumsy unpleasant messy bland careless cheap annoying ugly dreadful
forgettable sloppy painful pointless frustrating lifeless laughable inadequate irritating
uninteresting worthless hideous ridiculous stupid silly nasty disgusting unbearable depressing
mindless ineffective useless wretched repulsive dreary tiresome lackluster grating tasteless
deplorable
| terrible horrible awful boring disappointing mediocre tedious atrocious lousy pathetic miserable
abysmal appalling shoddy uninspired dismal"""
# What people do who liked it, and who did not.
PRAISE = """come back ; tell all our friends ; stay for another hour ; give it five stars ; buy a
second one
| book again at once ; applaud ; recommend it to anyone"""
COMPLAINT = """leave early ; ask for our money back ; fall asleep ; give it one star ; send it back
| walk out ; write an angry letter ; warn everyone"""
SUBJECTS = """the film ; the plot ; the acting ; the ending ; the script ; the soundtrack ; the lead
actor ; the restaurant ; the soup ; the main course ; the waiter ; the dessert ; the lunch menu ;
the wine list ; the phone ; the screen ; the keyboard ; the battery ; the camera ; the packaging ;
the app ; the speaker ; the hotel ; the room ; the breakfast ; the front desk ; the view ; the bed ;
the garden ; the tour guide
| the movie ; the dialogue ; the cast ; the finale ; the bistro ; the pasta ; the chef ; the coffee
; the laptop ; the charger ; the manual ; the headset ; the cottage ; the shower ; the host ; the
terrace"""
PEOPLE = """my brother ; our neighbours ; the critics ; most people ; a colleague ; the brochure
| my sister ; some guests ; the reviewers"""
TIMES = """last year ; in march ; on our first visit ; yesterday ; this weekend
| last summer ; on monday ; at christmas"""
DEGREES = "; really ; very ; quite ; rather ; truly | ; so ; genuinely ; remarkably"

# {a}: a word that agrees with the verdict, {o}: one opposed to it. {A}, {O}: the same of what they
# do. {s}, {t}: subjects. {p}: people. {d}: a time. {i}: a degree.
# Each row is a construction, and all are equally frequent except the first.
PLAIN_TIMES = 3  # without enough plain sentences, learning starts late and at a moment hard to tell
PHRASINGS = [
    # plain
    """{s} was {i} {a} {d} ; i found {s} {i} {a} ; {s} made us {A} ; {s} was so {a} that we had to
    {A} ; we thought {s} was {i} {a}
    | {s} was {a} from beginning to end ; thanks to {s} we decided to {A}""",
    # negation
    """{s} was not {o} at all ; nothing about {s} was {o} ; nobody could call {s} {o} ; {s} was
    never {o} ; i would not say that {s} was {o} ; {s} gave us no reason to {O} ; in no way was {s}
    {o} ; {s} was hardly a reason to {O} ; {s} was anything but {o}
    | there was nothing {o} about {s} ; {s} was far from {o}""",
    # double negation
    """it is not true that {s} was not {a} ; nobody can claim that {s} was not {i} {a} ; i cannot
    say that {s} was not {a} ; there is no denying that {s} was {a} ; {s} never failed to be {a} ; i
    would never deny that {s} was {a}
    | no one doubts that {s} was {i} {a}""",
    # contrast
    """{s} was {o} , but {t} was so {a} that nothing else mattered ; although {s} looked {o} , it
    was {i} {a} in the end ; {s} started out {o} and turned {i} {a} ; {s} was {o} {d} , yet overall
    we had a {a} time ; it could have been {o} , except that {s} was {a}
    | despite one {o} moment , {s} was {i} {a} ; while {t} was {o} , all in all {s} was {i} {a}""",
    # condition
    """if {s} had been {o} , we would gladly admit it ; had {s} been {o} , we would have had to {O}
    ; we would {O} if {s} were {o} , which it is not ; if {s} was {o} {d} , today it was {a} ;
    unless {s} suddenly becomes {o} , we will {A}
    | only if {s} had been {o} would we {O}""",
    # other people's views
    """{p} called {s} {o} , and i disagree completely ; {p} said that {s} would be {o} and got it
    wrong ; {p} called {s} {a} , and i agree completely ; contrary to what {p} told us , {s} was not
    {o} ; {p} promised something {o} , but {s} was the opposite ; i have no idea why {p} described
    {s} as {o}
    | {p} told us that {s} was {o} , which proved to be false ; just as {p} had told us , {s} was
    {i} {a}""",
    # comparison
    """the one we had {d} was far less {a} than {s} ; compared with {s} , everything {d} seemed {o}
    ; few things are less {o} than {s} ; {s} was more {a} than {o} ; {s} was less {o} than {a} ; i
    have rarely seen anything as {a} as {s} ; {s} made everything else look {o}
    | next to {s} , all the others were {o}""",
]


def columns(table, separator=";"):
    """The table's entries for training, and those of the dev set alone."""
    parts = table.split("|")
    return [[" ".join(entry.split()) for entry in part.split(separator)] for part in parts]


class Composer:
    """Draws sentences; `part` is 0 for the training set, 1 for the dev set."""

    def __init__(self, part, seed):
        self.random = random.Random(seed)
        self.words = {1: columns(GOOD, None)[part], 0: columns(BAD, None)[part]}
        self.acts = {1: columns(PRAISE)[part], 0: columns(COMPLAINT)[part]}
        self.fillers = {
            key: columns(table)[part]
            for key, table in zip("stpdi", (SUBJECTS, SUBJECTS, PEOPLE, TIMES, DEGREES))
        }
        # The dev set has the training set's phrasings too: mostly it asks for new words in them.
        rows = PHRASINGS[:1] * PLAIN_TIMES + PHRASINGS[1:]
        self.phrasings = [sum(columns(row)[: part + 1], []) for row in rows]

    def pick(self, items):
        # random() alone is the same in every version of Python; choice() and shuffle() need not be.
        return items[int(self.random.random() * len(items))]

    def sentence(self, label):
        fill = {key: self.pick(items) for key, items in self.fillers.items()}
        fill.update(a=self.pick(self.words[label]), o=self.pick(self.words[1 - label]))
        fill.update(A=self.pick(self.acts[label]), O=self.pick(self.acts[1 - label]))
        return " ".join(self.pick(self.pick(self.phrasings)).format(**fill).split())


def compose(number, part, seed):
    """[(sentence, label), ...]: `number` different sentences, half of each label."""
    composer, seen, rows = Composer(part, seed + 1000 * part), set(), []
    wrong = False
    while len(rows) < number:
        verdict = len(rows) % 2
        sentence = composer.sentence(verdict)
        if sentence in seen:
            continue
        seen.add(sentence)
        if part == 0 and verdict == 0:  # for this sentence and the next: the labels stay balanced
            wrong = composer.random.random() < WRONG_LABELS
        rows.append((sentence, 1 - verdict if wrong else verdict))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out_dir")
    parser.add_argument("--train", type=int, default=6000, help="sentences in train.tsv")
    parser.add_argument("--dev", type=int, default=800, help="sentences in dev.tsv")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out_dir, exist_ok=True)
    for part, (name, number) in enumerate((("train.tsv", args.train), ("dev.tsv", args.dev))):
        with open(os.path.join(args.out_dir, name), "w", encoding="utf-8", newline="\n") as f:
            f.write("sentence\tlabel\n")
            f.writelines("{}\t{}\n".format(*row) for row in compose(number, part, args.seed))


if __name__ == "__main__":
    main()
