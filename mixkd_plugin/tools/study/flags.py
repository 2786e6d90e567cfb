"""A study's flags, read by fairseq's own parser before anything is made."""

import argparse
import contextlib
import io
from typing import Any, List, Mapping, Sequence

from fairseq import options, utils

from ..report.result_line import Run
from . import plan
from .commands import PLUGIN, USUAL


def check_flags(study: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Of every kind of run, and of the teachers.

    Raises:
        ValueError: naming the first run whose flags `fairseq-train` does not take.
    """
    user_dir = study.get("user_dir") or str(PLUGIN)
    try:
        utils.import_user_module(argparse.Namespace(user_dir=user_dir))
    except Exception as error:  # whatever a package of one's own does
        raise ValueError(f"user_dir: {user_dir}: {type(error).__name__}: {error}") from error
    kinds = {}
    for run in runs:
        kinds.setdefault((run.task, run.student, run.arm, run.variant), run)
        kinds.setdefault(run.task, plan.teacher_of(study, run))
    for run in kinds.values():
        if isinstance(run, Run):
            settings = plan.settings_of(study, run)
        else:
            settings = plan.teacher_settings(study, run.task)
        begins = [] if settings["init"] == "scratch" else ["--student-init-path", "FILE"]
        _parse(run.folder, [*plan.train_flags(settings, examples=1), *begins])


def _parse(run: str, flags: List[str]) -> None:
    words = ["DATA", *USUAL, "--num-classes", "2", *flags]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            options.parse_args_and_arch(options.get_training_parser(), input_args=words)
    except (SystemExit, ValueError) as error:
        lines = printed.getvalue().strip().splitlines() or [str(error)]
        message = lines[-1].partition("error: ")[2] or lines[-1]
        raise ValueError(f"settings of {run}: {message}") from None
