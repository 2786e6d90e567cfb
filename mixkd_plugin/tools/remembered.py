"""What `encode` notes in a data folder for later commands: its tokenizer, the longest example, and
the classes that have blanks.

The file is not part of what is compared between copies of the data: it has a path.
"""

import json
import os
from typing import Mapping, NamedTuple, Optional

from ..names import class_name
from ..tokenizers.library import read_json_if_there
from ..tokenizers.specs import parse_spec

FILE = "encoding.json"


class Encoding(NamedTuple):
    """
    tokenizer: KIND:PATH; None where it was not noted
    max_length: tokens of the longest example, with <s> and </s>; None where it was not noted
    spelling: of the classes that have blanks, by their names in fairseq's dict.txt
    """

    tokenizer: Optional[str]
    max_length: Optional[int]
    spelling: Mapping[str, str]


def write_encoding(
    folder: str, out: str, tokenizer: str, max_length: int, spelling: Mapping[str, str]
) -> None:
    """Write FOLDER/encoding.json. Paths are relative to ``out``, where the folder will be."""
    kind, path = parse_spec(tokenizer)
    path = os.path.relpath(os.path.realpath(path), os.path.realpath(out))
    with open(os.path.join(folder, FILE), "w", encoding="utf-8") as file:
        noted = {"tokenizer": f"{kind}:{path}", "max_length": max_length, "spelling": spelling}
        json.dump(noted, file, indent=2)


def read_encoding(data: str) -> Encoding:
    """What is noted in a data folder.

    Raises:
        ValueError: if the note is damaged.
    """
    try:
        noted = read_json_if_there(os.path.join(data, FILE))
        spec, longest = noted.get("tokenizer"), noted.get("max_length")
        spelling = noted.get("spelling", {})
        if spec is not None:
            kind, path = parse_spec(str(spec))
            spec = f"{kind}:{os.path.normpath(os.path.join(os.path.realpath(data), path))}"
        if longest is not None and (not isinstance(longest, int) or longest < 1):
            raise ValueError(f"max_length must be >= 1, got {longest!r}")
        if not isinstance(spelling, dict) or any(
            not isinstance(text, str) or class_name(text) != name for name, text in spelling.items()
        ):
            raise ValueError(f"spelling must have names of classes, got {spelling!r}")
    except ValueError as error:
        raise ValueError(f"{os.path.join(data, FILE)}: {error}: encode the data again") from error
    return Encoding(spec, longest, spelling)


def named_tokenizer(data: str, given: Optional[str], flag: str = "--tokenizer") -> str:
    """The tokenizer KIND:PATH of a data folder: the one ``given`` by the flag, or the noted one.

    Raises:
        ValueError: if neither is there.
    """
    if given is not None:
        return given
    spec = read_encoding(data).tokenizer
    if spec is None:
        raise ValueError(f"{flag} must be given, since {data} does not name one (no {FILE})")
    path = parse_spec(spec)[1]
    if not os.path.exists(path):
        raise ValueError(
            f"{flag} must be given: {data} was encoded with {spec}, which is not there any more"
        )
    return spec
