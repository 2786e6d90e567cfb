"""Checks of a checkpoint's pickles without loading them.

torch's weights-only unpickler runs no code, but a small file can make it allocate gigabytes, hash
for ever or overflow the stack. So these are checked first: the names that a pickle loads, its
number of operations, and the depth and size of its objects (repeated references count repeatedly).
"""

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Any, BinaryIO, Collection, Dict, List, Sequence, Union

OPERATIONS = 300_000  # a model of 2,000 parameters and its Adam state have 130,000
DEPTH = 100
SIZE = 10 * OPERATIONS

# The operations that torch's weights-only unpickler knows, by what they do to the stack.
_ATOMS = frozenset((
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE",
    "SHORT_BINSTRING", "LONG1", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET",
))  # fmt: skip
_TAKEN = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2, "BINPERSID": 1}
_ADDED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
_ADDED_TO_MARK = frozenset(("APPENDS", "SETITEMS"))
_GET = frozenset(("BINGET", "LONG_BINGET"))
_PUT = frozenset(("BINPUT", "LONG_BINPUT"))

_Measures = Sequence[int]  # depth and size of an object; a list where it may grow


class UnsafePickleError(Exception):
    """Why a pickle is refused; the message follows its path."""


def scan(pickle: Union[bytes, BinaryIO], allowed: Collection[str]) -> None:
    """Check one pickle; afterwards a file is at its end.

    Args:
        allowed: full names that it may load

    Raises:
        UnsafePickleError: with the reason.
        Exception: any other, if it is damaged.
    """
    stack: List[_Measures] = []
    marks: List[int] = []
    memo: Dict[Any, _Measures] = {}
    for count, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
        if count > OPERATIONS:
            raise UnsafePickleError("is refused: it has more parts than any checkpoint needs")
        name = operation.name
        if name in _ATOMS:
            stack.append([1, 1])
        elif name in _GET:
            stack.append(tuple(memo[argument]))  # no pickler adds to it any more
        elif name in _PUT:
            memo[argument] = stack[-1]
        elif name == "GLOBAL":
            _check_name(argument, allowed)
            stack.append([1, 1])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _TAKEN:
            stack.append(_made_of(_pop(stack, _TAKEN[name])))
        elif name == "TUPLE":
            stack.append(_made_of(_pop(stack, len(stack) - marks.pop())))
        elif name in _ADDED or name in _ADDED_TO_MARK:
            many = _ADDED[name] if name in _ADDED else len(stack) - marks.pop()
            depth, size = _made_of(_pop(stack, many))
            target = stack[-1]
            target[0], target[1] = max(target[0], depth), target[1] + size
        elif name not in ("PROTO", "STOP"):
            raise UnsafePickleError(f"is refused: no checkpoint needs the pickle operation {name}")
        if stack and (stack[-1][0] > DEPTH or stack[-1][1] > SIZE):
            raise UnsafePickleError(
                "is refused: what it holds is nested deeper, or refers to itself more often, than "
                "any checkpoint needs"
            )


def _pop(stack: List[_Measures], many: int) -> List[_Measures]:
    start = len(stack) - many
    if start < 0:
        raise ValueError("its pickle takes more from the stack than there is")
    taken = stack[start:]
    del stack[start:]
    return taken


def _made_of(parts: List[_Measures]) -> _Measures:
    return [1 + max((p[0] for p in parts), default=0), 1 + sum(p[1] for p in parts)]


def _check_name(argument: str, allowed: Collection[str]) -> None:
    module, name = argument.split(" ", 1)
    # names of Python 2 as torch's unpickler reads them
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    full_name = f"{module}.{name}"
    if full_name not in allowed:
        shown = full_name[:100] if full_name.isprintable() else ascii(full_name)[:100]
        raise UnsafePickleError(
            f"is refused: it would load {shown}, which could run code and which no fairseq "
            "checkpoint needs"
        )
