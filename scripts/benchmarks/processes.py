"""Processes of their own for what is measured: fresh, side by side, one at work at a time.

What runs in one is warmed by nothing but itself. Those that wait take no processor time.
"""

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Concatenate, Final, Self

WITHOUT_KERNEL: Final = {"CTSPINE_ZARR_NATIVE": "0"}
"""Environment of a process in which the engine is Python alone."""

_CHILD: Final = "import sys; from benchmarks.processes import serve; serve(int(sys.argv[1]))"


class Worker[T]:
    """A process that makes an object and then does with it what it is asked to.

    Args:
        make: called there; pickled, as is all that is sent.
        environment: of the process, beside this one's.
    """

    def __init__(self, make: Callable[[], T], environment: Mapping[str, str] | None = None) -> None:
        self._connection, far = multiprocessing.Pipe()
        with far:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-c", _CHILD, str(far.fileno())],
                env=surroundings(environment or {}),
                pass_fds=[far.fileno()],
            )
        self._connection.send(make)

    def ready(self) -> None:
        """Wait for the object.

        Raises:
            Exception: what making it raised.
        """
        self._answer()

    def ask[**P, R](self, what: Callable[Concatenate[T, P], R], *args: P.args, **options: P.kwargs) -> R:
        """Its answer.

        Raises:
            Exception: what was raised there.
        """
        self._connection.send(partial(_with_subject, what, args, options))
        found: R = self._answer()
        return found

    def _answer(self) -> Any:
        try:
            result, error = self._connection.recv()
        except EOFError:
            message = f"a process of the benchmark ended with {self._process.wait()}: its error is above"
            raise ChildProcessError(message) from None
        if error is not None:
            raise error
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It ends as it finds nobody there."""
        self._connection.close()
        self._process.wait()


def _with_subject(what: Callable[..., Any], args: Any, options: Any, subject: Any) -> Any:
    return what(subject, *args, **options)


def alone[**P, R](
    environment: Mapping[str, str], work: Callable[P, R], *args: P.args, **options: P.kwargs
) -> R:
    """What a function returns in a process of its own.

    Raises:
        Exception: what it raised there.
    """
    with Worker(partial(work, *args, **options), environment) as worker:
        worker.ready()
        return worker.ask(_itself)


def _itself[T](subject: T) -> T:
    return subject


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """This process's environment and modules, and what is given."""
    places = dict.fromkeys(str(Path(place).absolute()) for place in sys.path if place)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), **environment}


def peak_bytes() -> int:
    """The most memory that this process has had; 0 where the system does not say it.

    `getrusage` would count its parent's, of which it was forked.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def serve(descriptor: int) -> None:
    """In the child: make, then answer until the other end is closed."""
    connection: Connection[Any, Any] = Connection(descriptor)
    made: list[Any] = []
    while True:
        try:
            asked = connection.recv_bytes()
        except (EOFError, ConnectionError):
            return
        try:
            answer = pickle.loads(asked)(*made)  # noqa: S301 - our own
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            connection.send((None, error))
            continue
        if made:
            connection.send((answer, None))
        else:
            made.append(answer)
            connection.send((None, None))
