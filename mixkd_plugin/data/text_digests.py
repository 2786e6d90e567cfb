"""A fingerprint of a data folder's texts: by it, copies in two vocabularies are known to agree."""

import hashlib
import json
import os
from typing import Dict, Iterable, Sequence

from ..files import check_regular

FILE = "texts.json"


def digest_of_texts(rows: Iterable[Sequence[str]]) -> str:
    """Of the raw texts of a split, in their order; a row has one, or the two of a pair."""
    digest = hashlib.sha256()
    for texts in rows:
        digest.update(json.dumps(list(texts)).encode() + b"\n")
    return digest.hexdigest()


def write_digests(folder: str, digests: Dict[str, str]) -> None:
    """Leave the digest of every split in a data folder."""
    with open(os.path.join(folder, FILE), "w", encoding="utf-8") as f:
        json.dump(digests, f, indent=1)
        f.write("\n")


def read_digests(folder: str) -> Dict[str, str]:
    """What :func:`write_digests` left there; nothing where the file is absent.

    Raises:
        ValueError: where the file is something else.
    """
    path = os.path.join(folder, FILE)
    if not os.path.exists(path):
        return {}
    check_regular(path)
    try:
        with open(path, encoding="utf-8") as f:
            digests = json.load(f)
    except (ValueError, RecursionError):
        digests = None
    if not isinstance(digests, dict):
        raise ValueError(f"{path} holds no digests of texts: remove it, or encode the data anew")
    return digests
