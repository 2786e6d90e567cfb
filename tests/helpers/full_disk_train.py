"""`fairseq-train` that may write no file of more than 100 KB, as on a full disk."""

import resource
import signal

import fairseq_cli.train

from mixkd_plugin.fairseq_fixes import atomic_save

if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    atomic_save.PAUSES = (0, 0)
    fairseq_cli.train.cli_main()
