"""Shared by all commands: their flags, output and exit codes, and packages that extend the plugin.

A command's parser needs neither torch nor fairseq: its ``work`` imports what does.

Exit codes: 0; 1 with a one-line error; 2 for wrong usage (argparse); 129, 130 or 143 after SIGHUP,
SIGINT or SIGTERM.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from ..tokenizers.specs import TOKENIZERS
from .output import is_full, why_full

TRACEBACK = "MIXKD_TRACEBACK"  # set: errors end in a traceback
LONGEST = 1000  # characters of an error line
MORE_SPACE = "free some space for --out, then run the same command again"
# Libraries whose loggers set their own level or handlers.
LIBRARIES = ("", "fairseq", "fairseq_cli", "torch", "transformers", "onnxscript", "onnx_ir")
SETTINGS = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def run_cli(
    name: str,
    build_parser: Callable[[], argparse.ArgumentParser],
    work: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> None:
    """Parse ``argv`` and do the work.

    Raises:
        SystemExit: with the exit code, unless it is 0.
    """
    if argv is None:
        become_command(name)
    try:
        args = build_parser().parse_args(argv)
        from .. import plugin  # noqa: F401  (registers, where importing the package did not)

        status = work(args)
        sys.stdout.flush()
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        _end(name, error)
    if status:
        sys.exit(status)


def become_command(name: str) -> None:
    """Show this package's own messages alone, and end on signals as by an exception."""
    os.environ.update({key: os.environ.get(key, value) for key, value in SETTINGS.items()})
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if not os.environ.get(TRACEBACK):  # fairseq prints tracebacks of damaged files
        sys.unraisablehook = lambda _ignored: None
    logging.disable(logging.NOTSET)
    logging.basicConfig(format=f"{name}: %(message)s", stream=sys.stderr, force=True)
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)
    logging.getLogger("mixkd_plugin").setLevel(logging.WARNING)
    _end_on_signals(name)


class CommandParser(argparse.ArgumentParser):
    """Positions may follow flags; with :func:`add_out` an output is named once."""

    names_output = False

    def parse_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else list(args)
        # argparse loses the flags that follow -- where it lets positions follow flags
        parse = super().parse_args if "--" in args else self.parse_intermixed_args
        found = parse(args, namespace)
        named = vars(found).pop("out_word", None)
        if self.names_output:
            if bool(named) == bool(found.out):
                self.error(f"--out must be given {'once' if named else ''}".rstrip())
            found.out = named or found.out
        return found


def command_parser(name: str, doc: str | None, example: str = "") -> CommandParser:
    """A parser for `mixkd NAME`, with its module's ``doc``, and an example's words after NAME."""
    return CommandParser(
        prog=f"mixkd {name}",
        description=(doc or "").strip(),
        epilog=f"example:\n  mixkd {name} {example}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_out(parser: CommandParser, what: str, word: bool = False) -> None:
    """--out (``word``: also the last position) and --force, see :func:`output.check_out`."""
    add = parser.add_argument
    if word:
        add("out_word", nargs="?", metavar="OUT", help=argparse.SUPPRESS)
    add("--out", metavar="DIR", help=f"{what}; must be new or empty (required)")
    parser.names_output = True
    add("--force", action="store_true", help="write into --out although it is not empty")


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """For imports that need an extra of this package.

    Raises:
        SystemExit: naming the library that is missing, and the extra.
    """
    try:
        yield
    except ImportError as error:
        sys.exit(f"this needs {error.name}: pip install 'mixkd_plugin[{name}]'")


@contextlib.contextmanager
def named(flag: str, path: str) -> Iterator[None]:
    """Errors about a file or folder in its context begin with the flag that names it, and its path.

    Raises:
        ValueError: for any error of a file or its content.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        text = sentence(error)
        if text.startswith(("--", flag)):
            raise
        begin = f"{flag} {path}"
        text = f"{begin}{text[len(path) :]}" if text.startswith(path) else f"{begin}: {text}"
        raise ValueError(text) from error


def sentence(error: BaseException) -> str:
    """An error's message on one line, without control characters."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(line.strip() for line in text[: 10 * LONGEST].splitlines() if line.strip())
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: LONGEST + 1])
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def positive(text: str) -> int:
    """A whole number >= 1 of a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)


def add_tokenizer(parser: argparse.ArgumentParser, data: str = "the data") -> None:
    help = f"{'; '.join(TOKENIZERS.values())} (default: the one that encoded {data})"
    parser.add_argument("--tokenizer", metavar="KIND:PATH", help=help)


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that any checkpoint may need."""
    add = parser.add_argument
    add("--classification-head-name", metavar="NAME",
        help="name of the classification head (default: the checkpoint's own)")  # fmt: skip
    add("--user-dir", metavar="DIR",
        help="your package that was used in training (examples/extend; default: none)")  # fmt: skip


def import_user_dir(folder: str | None) -> None:
    """Import a user directory as fairseq's commands do.

    Raises:
        ValueError: where it cannot be imported.
    """
    ours = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if folder is None or os.path.realpath(folder) == ours:
        return
    from fairseq.utils import import_user_module

    try:
        import_user_module(argparse.Namespace(user_dir=folder))
    except FileNotFoundError as error:
        raise ValueError(f"--user-dir must be a package's folder, got {folder}") from error
    except Exception as error:  # the package may raise anything
        if os.environ.get(TRACEBACK):
            raise
        reason = f"{type(error).__name__}: {sentence(error)}"
        raise ValueError(f"--user-dir {folder} cannot be imported ({reason})") from error


def _end(name: str, error: Exception) -> NoReturn:
    if isinstance(error, BrokenPipeError):  # the reader of stdout was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    text = sentence(error)
    if is_full(error):
        if not isinstance(error, (OSError, ValueError)):
            text = why_full(error)
        text = text if text.endswith(MORE_SPACE) else f"{text}: {MORE_SPACE}"
    elif not isinstance(error, (ValueError, OSError, ImportError)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        text += f" (unexpected; {TRACEBACK}=1 shows where)"
    sys.exit(f"{name}: {text}")


def _end_on_signals(name: str) -> None:
    """SIGINT, SIGTERM and SIGHUP end the process as an exception does, so that it cleans up."""
    numbers = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]

    def end(number: int, _frame) -> NoReturn:
        for other in numbers:  # no second signal interrupts the cleaning up
            signal.signal(other, signal.SIG_IGN)
        os.write(2, f"{name}: ended by {signal.Signals(number).name}\n".encode())
        sys.exit(128 + number)

    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end)
