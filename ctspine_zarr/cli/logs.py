"""The logs of a command: what the terminal and a file are told of its progress, refusals and errors.

Whatever a command says is a record of the logger `ctspine_zarr.cli`, beside those of the library's own
loggers; two handlers decide where each is seen. The library itself sets up none.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, override

import click

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.names import printable

_LIBRARY: Final = logging.getLogger("ctspine_zarr")
_LOG: Final = logging.getLogger("ctspine_zarr.cli")
# Attributes of a record: it goes to standard output; no --quiet silences it; a document tells of it as well;
# the terminal shows it otherwise.
_OUTPUT: Final = "is_output"
_FINAL: Final = "is_final"
_TOLD: Final = "is_told"
_SHOWN: Final = "is_shown"

type Document = Mapping[str, Any] | Sequence[Any]


def progress(text: str, *, shown: bool = False) -> None:
    """Tell of progress in one line.

    Args:
        text: what a store has put into it is made printable.
        shown: whether the terminal has seen it otherwise, so that the file alone is told.
    """
    _LOG.info(printable(text), extra={_SHOWN: shown})


def refusal(text: str) -> None:
    """Tell in one line of a case that is not built, or was not."""
    _LOG.warning(printable(text), extra={_TOLD: True})


def fault(text: str) -> None:
    """Tell in one line of what is damaged, or of a case that failed, which ends no command."""
    _LOG.error(printable(text), extra={_TOLD: True})


def error(text: str) -> None:
    """Tell in one line of the error that ends a command."""
    _LOG.error(printable(text))


def output(text: str | Callable[[], str], *, final: bool = False) -> None:
    """Write lines to standard output.

    Args:
        text: lines that are printable, or what makes them, called where somebody reads them.
        final: whether they are the command's result, which --quiet leaves.
    """
    if not current().needs_text:
        return
    for line in (text if isinstance(text, str) else text()).split("\n"):
        _LOG.info(line, extra={_OUTPUT: True, _TOLD: True, _FINAL: final})


def answer(
    text: str | Callable[[], str] | None,
    document: Document | Callable[[], Document],
    *,
    in_a_line: bool = False,
) -> None:
    """Write a command's result to standard output: its text, or with --json its document.

    Args:
        text: lines that are printable, or what makes them; None where they were written already.
        document: of JSON's types, or what makes it. What nobody reads is not made.
        in_a_line: whether the document is one line.
    """
    if text is not None:
        output(text, final=True)
    if current().is_json:
        made = document() if callable(document) else document
        # Escapes leave nothing in it that a terminal would obey.
        click.echo(json.dumps(made, indent=None if in_a_line else 1, allow_nan=False))


def exact(text: str) -> None:
    """Write a file of text, such as CSV, to standard output as it is: other programs read it."""
    # Escapes too: click leaves them out of what is no terminal's.
    click.echo(text, nl=False, color=True)


class Logs:
    """The handlers of one command, and what was asked of them.

    Attributes:
        is_json: whether standard output has one document and no text.
    """

    def __init__(self) -> None:
        self.is_json = False
        self._quiet = self._verbose = False
        self._terminal = _Terminal(logging.INFO)
        self._files: list[logging.Handler] = []

    @property
    def quiet(self) -> bool:
        """Whether no progress is shown."""
        return self._quiet or (self.is_json and not self._verbose)

    @property
    def needs_text(self) -> bool:
        """Whether the text of a result is read: by a person, or in a file."""
        return not self.is_json or bool(self._files)

    def print_document(self) -> None:
        """Give standard output to one document."""
        self.is_json = self._terminal.is_json = True
        self._terminal.quiet = self.quiet

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """Records are handled, until the context ends."""
        before = _LIBRARY.level
        _LIBRARY.setLevel(logging.INFO)
        _LIBRARY.addHandler(self._terminal)
        try:
            yield
        finally:
            for handler in (self._terminal, *self._files):
                _LIBRARY.removeHandler(handler)
                handler.close()
            _LIBRARY.setLevel(before)

    def ask(self, *, quiet: bool, verbose: bool, file: Path | None) -> None:
        """Add wishes to those that there are.

        Raises:
            UnknownValue: both quiet and verbose are wished for, or the file cannot be written.
        """
        self._quiet, self._verbose = self._quiet or quiet, self._verbose or verbose
        if self._quiet and self._verbose:
            message = "--quiet and --verbose together; legal: one of them"
            raise UnknownValue(message)
        if file is not None:
            self._files.append(_opened(file))
            _LIBRARY.addHandler(self._files[-1])
        if self._files or self._verbose:
            _LIBRARY.setLevel(logging.DEBUG)
        # A final line is of no higher level: the handler lets it pass.
        self._terminal.setLevel(logging.DEBUG if self._verbose else logging.INFO)
        self._terminal.quiet = self.quiet


def current() -> Logs:
    """Those of the command that runs."""
    return click.get_current_context().ensure_object(Logs)


def logged(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of its logs, and heeds them before anything else."""

    @click.option("-q", "--quiet", is_flag=True, help="Show errors, refusals and the final line alone.")
    @click.option(
        "-v", "--verbose", is_flag=True, help="Show what the library logs too, and refusals' tracebacks."
    )
    @click.option(
        "--log-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Append every line, and what the library logs, to FILE, with time and level.",
    )
    @functools.wraps(command)
    def begin(*arguments: Any, quiet: bool, verbose: bool, log_file: Path | None, **options: Any) -> None:
        current().ask(quiet=quiet, verbose=verbose, file=log_file)
        command(*arguments, **options)

    return begin


class _Terminal(logging.Handler):
    """What a person sees: errors and output as they are, the rest with its time where it is no terminal.

    What cannot be written is an error of the command, as of any print.
    """

    quiet = is_json = False

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if self.is_json and getattr(record, _TOLD, False):
            return False
        needed = record.levelno >= logging.WARNING or getattr(record, _FINAL, False)
        return not getattr(record, _SHOWN, False) and (needed or not self.quiet)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        output = getattr(record, _OUTPUT, False)
        text = _in_lines(record)
        if not output and record.levelno < logging.WARNING and not sys.stderr.isatty():
            text = f"{_time(record)} {text}"
        click.echo(text, err=not output)


class _File(logging.FileHandler):
    """A file that records are appended to: time, level, logger of the library, text."""

    _failed = False

    @override
    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname} {_in_lines(record)}"

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        # A disk that is full ends no build that writes elsewhere; once is enough to say so.
        if not self._failed:
            self._failed = True
            click.echo(f"ctspine-zarr: --log-file {self.baseFilename}: {sys.exception()}", err=True)

    @override
    def close(self) -> None:
        # What a full disk did not take is tried once more, and was told of.
        with contextlib.suppress(OSError):
            super().close()


def _opened(path: Path) -> _File:
    try:
        return _File(path, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError) as fault:
        message = f"--log-file {path}: {fault}; legal: a file that can be written, in a folder that is there"
        raise UnknownValue(message) from fault


def _in_lines(record: logging.LogRecord) -> str:
    """A record's text; further lines, as of a traceback, are indented, so that none seems another record."""
    name = "" if record.name.startswith(_LOG.name) else f"{record.name}: "
    traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    lines = f"{name}{record.getMessage()}\n{traceback}".rstrip("\n").split("\n")
    return "\n    ".join(map(printable, lines))


def _time(record: logging.LogRecord) -> str:
    """When it was, in ISO 8601, seconds, local zone."""
    return dt.datetime.fromtimestamp(record.created, dt.UTC).astimezone().isoformat(timespec="seconds")
