"""The one way to run a program: arguments as a list, stdin closed, a known environment, a deadline.

Goes in: an argument list and where its output goes. Comes out: a finished process, or an error that
carries the exit code or signal, the last lines of output, the log's path and the command as one can
paste it. No other module imports ``subprocess``.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.foundation.errors import MissingRequirement, PipelineError

# Loaded by who stays beside a program; commands that merely run one answer sooner without it.
if TYPE_CHECKING:
    import asyncio

# What a program may see of our environment: nothing that changes its output or leaks a secret.
PASSED_ON = (
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "USER",
    "LOGNAME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
TAIL_LINES = 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Argv = Sequence[str | os.PathLike[str]]


class ProgramFailed(PipelineError):
    """A program ended with a failure or ran past its deadline."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended with exit code 0; ``output`` is what it wrote to stdout."""

    output: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment a program gets: the whitelisted variables, the C locale, and ``extra``."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict(extra or {})


def _words(argv: Argv) -> list[str]:
    return [os.fspath(word) for word in argv]


def pasteable(argv: Argv) -> str:
    """The command line as one can paste it into a shell."""
    return shlex.join(os.fspath(word) for word in argv)


def find_program(name: str, hint: str = "") -> Path:
    """The path of ``name`` on PATH (and in the sbin folders, absent from many users' PATH)."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    found = shutil.which(name, path=search)
    if not found:
        raise MissingRequirement(f"{name} is not installed", hint=hint or "run: golden doctor")
    return Path(found)


def ending(code: int) -> str:
    """``exit code 1`` or ``killed by SIGTERM``."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last ``lines`` lines of ``text``, indented."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


def _failure(argv: Argv, how: str, output: str, log: Path | None, hint: str) -> ProgramFailed:
    name = Path(os.fspath(argv[0])).name
    parts = [f"{name} failed: {how}", tail(output), f"  command: {pasteable(argv)}"]
    return ProgramFailed("\n".join(part for part in parts if part), hint=hint, evidence=log)


def _dying_with_us(by: str = "KILL") -> list[str]:
    """What goes before a command so that the kernel ends it when this process dies; or nothing."""
    try:
        setpriv, shell = find_program("setpriv"), find_program("sh")
    except MissingRequirement:
        return []
    wrapper = [os.fspath(setpriv), "--pdeathsig", by, os.fspath(shell), "-c"]
    # We may have died before that took effect; then the program must not start at all.
    return [*wrapper, '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]


def run(
    argv: Argv,
    *,
    deadline: float,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ok: Sequence[int] = (0,),
    hint: str = "",
    stdin: Path = Path(os.devnull),
) -> Finished:
    """Run a program to its end; stderr (and stdout, when ``log`` is given) goes to the log.

    ``deadline`` is in seconds; ``stdin`` a file to read, for programs that take nothing else.
    Raises :class:`ProgramFailed`, or :class:`MissingRequirement` when
    there is no such program. Where the host can, the kernel ends the program when this process is
    killed: a disk that takes minutes to compress is not compressed for nobody.
    """
    program = find_program(os.fspath(argv[0]))
    command = [os.fspath(program), *_words(argv[1:])]
    try:
        with stdin.open("rb") as source:
            done = subprocess.run(
                [*_dying_with_us(), *command],
                stdin=source,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment(env),
                cwd=cwd,
                timeout=deadline,
                check=False,
            )
    except subprocess.TimeoutExpired as expired:
        seen = (expired.stdout or b"") + (expired.stderr or b"")
        text = seen.decode(errors="replace") if isinstance(seen, bytes) else seen
        raise _failure(command, f"not done within {deadline:g} s", text, log, hint) from None
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as stream:
            stream.write(f"$ {pasteable(command)}\n{done.stdout}{done.stderr}")
    if done.returncode not in ok:
        raise _failure(command, ending(done.returncode), done.stdout + done.stderr, log, hint)
    return Finished(done.stdout)


def run_shown(argv: Argv, *, cwd: Path | None = None) -> None:
    """Run a program of one's own in the foreground, its output going where ours goes.

    For tools that people watch (the task graph, the test runner): it gets our environment and our
    stdout. After Ctrl-C it is waited for, as it has things to put away; it is told with SIGTERM
    when we die. Raises :class:`ProgramFailed` with its exit code.
    """
    command = [*_dying_with_us("TERM"), *_words(argv)]
    with (
        subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=cwd) as process,
        _interrupts_passed_on(process) as interrupts,
    ):
        try:
            code = process.wait()
        except BaseException:  # a signal that was made into an exception
            process.terminate()
            raise
    if interrupts:
        raise KeyboardInterrupt
    if code != 0:
        raise ProgramFailed(f"{Path(os.fspath(argv[0])).name} failed: {ending(code)}")


@contextmanager
def _interrupts_passed_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Interrupts are noted, and end the program and not the waiting for it."""
    noted: list[int] = []

    def interrupted(number: int, _: object) -> None:
        noted.append(number)
        if not _at_the_keyboard():
            process.send_signal(number)

    before = signal.getsignal(signal.SIGINT)
    ignored = before is signal.SIG_IGN  # a script started us with &
    if ignored or threading.current_thread() is not threading.main_thread():
        yield noted
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _at_the_keyboard() -> bool:
    """Whether Ctrl-C reaches us, and with us the programs that we run, from a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@dataclass(frozen=True, slots=True)
class Detached:
    """A program of our own that runs by itself; ``ended`` asks whether it still does."""

    pid: int
    ended: Callable[[], bool]


def start_detached(argv: Argv, *, log: Path, env: Mapping[str, str]) -> Detached:
    """Start a program of our own that outlives us and our terminal; it gets our environment.

    A session of its own, no terminal, its output in ``log``: neither Ctrl-C nor a closed terminal
    nor our end, in whatever way, reaches it. ``env`` is added to the environment.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            _words(argv),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=os.environ | dict(env),
            cwd="/",
            start_new_session=True,
        )
    return Detached(process.pid, lambda: process.poll() is not None)


def die_with_parent() -> None:
    """Let the kernel interrupt this process when its parent dies, however it dies.

    For worker processes of the task graph: SIGKILL to the main process must not leave a worker that
    goes on building. SIGINT, so that the worker stops its machine in order.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT) != 0 or os.getppid() != parent:
        signal.raise_signal(signal.SIGINT)


async def spawn(
    argv: Argv, *, log: IO[bytes], pass_fds: Sequence[int] = (), cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Start a program that lives beside us; the kernel kills it when this process dies.

    ``setpriv --pdeathsig`` does that even for SIGKILL and the out-of-memory killer. The program
    runs in a session of its own, so that a Ctrl-C on the terminal reaches us alone and we stop it
    in order.
    """
    import asyncio

    find_program("setpriv", hint="install util-linux")
    program = os.fspath(find_program(os.fspath(argv[0])))
    return await asyncio.create_subprocess_exec(
        *_dying_with_us(),
        program,
        *_words(argv[1:]),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment(),
        cwd=cwd,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )


async def stop(process: asyncio.subprocess.Process, patience: float = 5.0) -> int:
    """End a program: SIGTERM, after ``patience`` seconds SIGKILL; returns its exit code."""
    import asyncio

    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with suppress(ProcessLookupError):
            process.send_signal(sign)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience)
    return await process.wait()
