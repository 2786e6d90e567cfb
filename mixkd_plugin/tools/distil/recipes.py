"""The recipes of training: a row of weights of the loss each."""

import argparse
from typing import NamedTuple

AUTO = "auto"


class Recipe(NamedTuple):
    title: str  # in reports
    about: str
    mle: float = 0  # labels, clean examples
    kd: float = 0  # teacher, clean examples
    sm: float = 0  # labels, mixed examples
    tmkd: float = 0  # teacher, mixed examples
    more: tuple[str, ...] = ()  # flags of fairseq-train

    @property
    def flags(self) -> list[str]:
        weights = {"mle": self.mle, "kd": self.kd, "sm": self.sm, "tmkd": self.tmkd}
        words = [[f"--{name}-weight", f"{weight:g}"] for name, weight in weights.items()]
        return [*sum(words, []), *self.more]

    @property
    def taught(self) -> bool:
        return self.kd > 0 or self.tmkd > 0

    @property
    def rows(self) -> int:
        """Sequences that the student computes for an example."""
        return int(self.mle > 0 or self.kd > 0) + int(self.sm > 0 or self.tmkd > 0)


ALPHA = ("--mixup-alpha", "1")
SPLICE = (*ALPHA, "--mixup-kind", "splice")
HIDDEN = ("--hidden-weight", "1")
RECIPES = {
    "mixkd": Recipe("KD on mixes", "teacher on mixed examples alone", tmkd=1, more=ALPHA),
    "splice": Recipe("KD on splices", "teacher on spliced texts alone", tmkd=1, more=SPLICE),
    "kd": Recipe("KD", "labels, and the teacher on the examples", mle=1, kd=1),
    "kd+hidden": Recipe(
        "KD + hidden states",
        "labels, and the teacher's logits and hidden states on the examples",
        mle=1,
        kd=1,
        more=HIDDEN,
    ),
    "kd+splice": Recipe(
        "KD + splices",
        "labels, and the teacher on the examples and on spliced texts",
        mle=1,
        kd=1,
        tmkd=1,
        more=SPLICE,
    ),
    "paper": Recipe("SM + TMKD", "labels, mixed labels, teacher on mixes", mle=1, sm=1, tmkd=1),
    "ft": Recipe("fine-tuned", "labels alone", mle=1),
}


def recipes(text: str) -> str:
    """AUTO, or names of RECIPES with commas between, of a command line."""
    names = text.split(",")
    if text != AUTO and (not {*names} <= {*RECIPES} or len({*names}) < len(names)):
        raise argparse.ArgumentTypeError(
            f"must be {AUTO}, or of {', '.join(RECIPES)}, each once, got {text}"
        )
    return text


def best_recipes(trimmed: bool, narrower: bool = False) -> list[str]:
    """What AUTO stands for, where the student's vocabulary, or its width, is not the teacher's."""
    return ["mixkd" if trimmed else "splice", "kd" if trimmed or narrower else "kd+hidden"]


def chosen_recipes(text: str, trimmed: bool, narrower: bool, fine_tuned_too: bool) -> list[str]:
    names = best_recipes(trimmed, narrower) if text == AUTO else text.split(",")
    return names + ["ft"] * (fine_tuned_too and "ft" not in names)


def check_recipes(args: argparse.Namespace, narrower: bool = False) -> None:
    """Raise ValueError for a recipe that needs the teacher's tokens, or its width."""
    trimmed = bool(args.trim_vocabulary)
    for name in chosen_recipes(args.recipe or AUTO, trimmed, narrower, False):
        more = RECIPES[name].more
        if trimmed and {"--mixup-kind", "--hidden-weight"} & {*more}:
            raise ValueError(
                f"--recipe must be another one with --trim-vocabulary, got {name}: teacher and "
                "student must read the same tokens"
            )
        if narrower and "--hidden-weight" in more:
            raise ValueError(
                f"--recipe must be another one with --width {args.width}, got {name}: hidden "
                "states must have the teacher's width"
            )
