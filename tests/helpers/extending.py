"""Commands with the package of examples/extend as --user-dir."""

from argparse import Namespace

import toy
from fairseq.utils import import_user_module
from toy import ROOT

MINE = ROOT / "examples" / "extend" / "my_mixkd"


def import_theirs():
    """Their package in this process, as --user-dir imports it."""
    import_user_module(Namespace(user_dir=str(MINE)))


def flags(data, folder, *extra):
    return toy.train_flags(data, folder, "--user-dir", MINE, *extra)


def validated(data, folder, user_dir=MINE, **task):
    """What `fairseq-validate` says, in a process that knows no other user directory."""
    paths = data, folder / "checkpoint_last.pt"
    flags = toy.validate_flags(*paths, "--batch-size", 16, user_dir=user_dir, **task)
    return toy.run_module("fairseq_cli.validate", *flags).stdout
