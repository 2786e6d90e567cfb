"""Labels and texts that may mislead: missing values, invisible characters, similar labels."""

import contextlib
import re
import shlex
import unicodedata
from decimal import Decimal
from typing import Iterable, Sequence

from ...names import class_name, join_names

LONGEST_FLAG = 400  # characters in an error
LONGEST_NUMBER = 40  # digits that are written out
# missing values as written by pandas and other programs
MISSING = {
    *("nan", "-nan", "np.nan", "nat", "none", "null", "nil", "na", "n/a", "n.a.", "<na>", "pd.na"),
    *("#na", "#n/a", "#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "undefined", "?"),
    *("\\n", "(null)", "<null>", "<none>", "#null!", "#value!", "#ref!", "#div/0!", "#name?"),
    *("#num!", "-", "--", "\u2013", "\u2014"),  # a dash as SNLI writes it
}
# Unicode's default ignorable code points, controls that are no white space, and Braille's blank
_UNSEEN = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\ufffb"
)
_JOINERS = "\u200c\u200d\ufe00-\ufe0f\U000e0000-\U000e0fff"  # words and emoji may need them
UNSEEN = re.compile(f"[{_UNSEEN}{_JOINERS}]")
_SUSPECT = re.compile(f"[{_UNSEEN}]|^[\u200c\u200d]|[\u200c\u200d]$")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TWINS = str.maketrans(
    "авекмнорстухіјѕαβεικνορτυχ‐‑‒–—―−‘’ʼ", "abekmhopctyxijsabeikvoptux-------'''"
)
_MARKS = " \t'\"`´“”„«».,;:"  # around a label: ignored in comparisons


def is_blank(text: str) -> bool:
    """Whether it has no visible character."""
    return not text.strip() or not UNSEEN.sub("", text).strip()


def is_missing(text: str) -> bool:
    """Whether it is blank, or a word that programs write for a missing value."""
    return is_blank(text) or (len(text) < 20 and text.strip(" \t\r\n'\"").casefold() in MISSING)


def unseen(text: str) -> str:
    """The invisible characters of a label without a meaning, by their code points."""
    return " ".join(f"U+{ord(c):04X}" for c in dict.fromkeys(_SUSPECT.findall(text)))


def likeness(label: str) -> str:
    """Equal for labels that look or mean the same: 1 and 1.0, Good and good, 'very bad', very_bad.

    Also for a composed and a decomposed accent, a Latin and a Cyrillic letter of the same form,
    invisible characters, quotation marks around a label, and true and 1.
    """
    text = UNSEEN.sub("", unicodedata.normalize("NFKC", label)).casefold()
    text = unicodedata.normalize("NFKC", text).translate(_TWINS).replace("i\u0307", "i")
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text)
    number = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.strip(_MARKS[:-4]))
    number = {"true": "1", "false": "0"}.get(number, number)
    if NUMBER.fullmatch(number):
        with contextlib.suppress(ArithmeticError):  # an exponent out of range
            value = (Decimal(number) + 0).normalize()
            return format(value, "f") if abs(value.adjusted()) < LONGEST_NUMBER else str(value)
    text = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", text).strip(_MARKS) or text
    return class_name(text)  # beside punctuation, too, a blank is as _


def listed(values: Iterable[str]) -> str:
    """Names separated by commas, with code points for invisible characters."""
    return ", ".join(
        join_names([value]) if value.isprintable() and value == value.strip() else shown(value)
        for value in values
    )


def labels_flag(classes: Sequence[str]) -> str:
    """--labels with these classes, to be pasted; without them if they are too long or not ASCII."""
    value = join_names(classes)
    if len(value) > LONGEST_FLAG or not (value.isascii() and value.isprintable()):
        return "--labels with all classes"
    return f"--labels={shlex.quote(value)}"


def shown(text: str) -> str:
    """In quotation marks, with code points for invisible or ambiguous characters."""
    plain = text.isprintable() and unicodedata.is_normalized("NFKC", text) and not unseen(text)
    return repr(text) if plain else ascii(text)
