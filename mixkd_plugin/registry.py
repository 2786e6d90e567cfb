"""What a flag may name, where other packages may add to it."""

from typing import Dict, Generic, Iterator, TypeVar

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name, each name once; iterating gives the names in the order they came.

    Args:
        flag: the flag that names one of them, for errors
    """

    def __init__(self, flag: str):
        self._flag = flag
        self._entries: Dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> None:
        """Add an entry.

        Raises:
            ValueError: where the name is taken: of two packages one would silently lose.
        """
        if name in self._entries:
            raise ValueError(f"{self._flag} {name} is registered already: give it another name")
        self._entries[name] = entry

    def find(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            ValueError: for an unknown name, with those that are known.
        """
        if name not in self._entries:
            raise ValueError(f"{self._flag} must be one of {', '.join(self._entries)}, got {name}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
