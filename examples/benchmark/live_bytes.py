"""Bytes of tensors alive, by torch's allocator of the CPU: exact, and the same in every run."""

import gc
from typing import Dict, NamedTuple

from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

_MARK = "live-bytes:"


class Bytes(NamedTuple):
    held: int  # alive at the mark
    peak: int  # the most alive since the mark before it


class LiveBytes:
    """In its context :meth:`mark` names moments; after it ``at[name]`` says what was alive then.

    Counted is what was allocated in the context, temporary memory inside torch's own kernels
    included. Files that are mapped into memory and what other libraries allocate are not.
    """

    def __enter__(self) -> "LiveBytes":
        gc.collect()
        gc.freeze()  # later collections look at what is new alone, and take no time
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.__enter__()
        return self

    def mark(self, name: str) -> None:
        gc.collect()
        with record_function(_MARK + name):
            pass

    def __exit__(self, *error) -> None:
        self._profile.__exit__(*error)
        gc.unfreeze()
        self.at: Dict[str, Bytes] = {}
        held = peak = 0
        events = self._profile.profiler.kineto_results.events()
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
            elif event.name().startswith(_MARK):
                self.at[event.name()[len(_MARK) :]] = Bytes(held, peak)
                peak = held
        del self._profile
