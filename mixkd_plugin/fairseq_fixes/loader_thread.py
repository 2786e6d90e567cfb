"""A command does not abort as it ends ("terminate called without an active exception").

fairseq reads batches ahead in a daemon thread, which ends torch's loader workers after the last
batch. Python stops such a thread wherever it is when the process ends; inside torch's C++ code that
aborts the process, after all work was done.
"""

import contextlib
import queue
import threading
import time

from fairseq.data.iterators import BackgroundConsumer

LONGEST_WAIT = 10.0  # seconds; torch gives a loader worker 5 to end


def end_consumers() -> None:
    """Let each thread end after the batch that it is at; called as the process ends."""
    until = time.monotonic() + LONGEST_WAIT
    for thread in threading.enumerate():
        if isinstance(thread, BackgroundConsumer):
            thread._max_len = 0
            while thread.is_alive() and time.monotonic() < until:
                with contextlib.suppress(queue.Empty):  # it may wait for room
                    thread._queue.get(timeout=0.01)
