"""The recipes of training: a row of weights of the loss each."""

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
RECIPES = {
    "mixkd": Recipe("MixKD", "teacher on mixed examples alone", tmkd=1, more=ALPHA),
    "splice": Recipe("spliced MixKD", "teacher on spliced texts alone", tmkd=1, more=SPLICE),
    "kd": Recipe("KD", "labels, and the teacher on the examples", mle=1, kd=1),
    "paper": Recipe("SM + TMKD", "labels, mixed labels, teacher on mixes", mle=1, sm=1, tmkd=1),
    "ft": Recipe("fine-tuned", "labels alone", mle=1),
}


def chosen_recipes(name: str, fine_tuned_too: bool) -> list[str]:
    names = ["mixkd", "kd"] if name == AUTO else [name]
    return names + ["ft"] * (fine_tuned_too and "ft" not in names)
