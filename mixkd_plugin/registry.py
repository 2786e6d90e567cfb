"""Named values of a flag, which other packages may extend."""

from typing import Dict, Generic, Iterator, TypeVar

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name, each name once; iteration gives the names in order of registration.

    Args:
        flag: the flag that names one of them, for errors
    """

    def __init__(self, flag: str):
        self._flag = flag
        self._entries: Dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> Entry:
        """Add an entry, and return it; ValueError if the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self._flag} {name} is already registered: choose another name")
        self._entries[name] = entry
        return entry

    def find(self, name: str) -> Entry:
        """The entry of a name; ValueError, with the known ones, for another."""
        if name not in self._entries:
            raise ValueError(f"{self._flag} must be one of {', '.join(self._entries)}, got {name}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
