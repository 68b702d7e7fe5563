"""One running virtual machine: its console, monitor, screen, disks, and its end.

Goes in: what ``boot`` started. Comes out: :class:`Machine`, the handle that stages, instances and
the watch hold while the machine lives. Nothing here starts or cleans up anything.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_file
from pipeline.foundation.process import ending, tail
from pipeline.foundation.waiting import Timeout
from pipeline.machine.console import Console
from pipeline.machine.doors import Doors
from pipeline.machine.monitor import Monitor, MonitorFailed
from pipeline.machine.shutdown import Act, Ending, Rung, descend
from pipeline.machine.sidecars import Sidecar
from pipeline.machine.spec import MachineSpec

QUIT_PATIENCE = 10.0
SIGNAL_PATIENCE = 5.0
KEY_HOLD_MS = 100
RECENT_SHOTS = 32


class Machine:
    """A machine that has been started; see :func:`pipeline.machine.boot.boot`."""

    def __init__(
        self,
        spec: MachineSpec,
        evidence: Path,
        process: asyncio.subprocess.Process,
        monitor: Monitor,
        console: Console,
        sidecars: Sequence[Sidecar],
    ) -> None:
        self.spec = spec
        self.evidence = evidence
        self.process = process
        self.monitor = monitor
        self.console = console
        self.sidecars = tuple(sidecars)
        self.started = time.monotonic()
        self.ssh_port = 0
        self.doors: Doors | None = None
        self.rung = ""
        self.stopping = False  # we end it: its end is no news to the watch
        self._shots = 0
        self._recent_shots: deque[str] = deque(maxlen=RECENT_SHOTS)
        self._png = True

    # Events

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """QEMU's events so far, oldest first."""
        return self.monitor.events

    def listen(self, *names: str) -> AbstractContextManager[EventListener]:
        """Listen for events (``RESET``, ``SHUTDOWN``, ``GUEST_PANICKED`` …) before their cause."""
        return self.monitor.listen(*names)

    # Acting upon the guest

    async def find_ssh_port(self) -> int:
        """The host's port that leads to the guest's port 22, as QEMU bound it."""
        text = await self.monitor.execute("human-monitor-command", command_line="info usernet")
        match = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", str(text))
        if not match:
            raise PipelineError(f"{self.spec.name}: QEMU forwards no port", evidence=self.evidence)
        self.ssh_port = int(match[1])
        return self.ssh_port

    async def press(self, *keys: str) -> None:
        """Press keys together, by QEMU's names (``spc``, ``ret``, ``ctrl``, ``delete`` …)."""
        chord = [{"type": "qcode", "data": key} for key in keys]
        await self.monitor.execute("send-key", keys=chord, hold_time=KEY_HOLD_MS)

    async def screenshot(self, label: str) -> Path | None:
        """Keep the screen as ``NNNN-label.png``; ``None`` when it is like one of the last kept.

        One of several, as a blinking cursor makes two screens of one.
        """
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", label).strip("-")
        path = await self._dump(self.evidence / f"{self._shots:04}-{name}.png")
        digest = sha256_file(path)
        if digest in self._recent_shots:
            path.unlink()
            return None
        self._shots += 1
        self._recent_shots.append(digest)
        return path

    async def screen(self) -> str:
        """The digest of what the screen shows now, which is not kept."""
        path = self.evidence / ".screen"
        try:
            return sha256_file(await self._dump(path))
        finally:  # also when nobody waits any longer
            for left in (path, path.with_suffix(".ppm")):
                left.unlink(missing_ok=True)

    async def _dump(self, path: Path) -> Path:
        if self._png:
            try:
                await self.monitor.execute("screendump", filename=str(path), format="png")
            except MonitorFailed as error:
                if "format" not in str(error):
                    raise
                self._png = False  # QEMU before 7.1
            else:
                return path
        path = path.with_suffix(".ppm")
        await self.monitor.execute("screendump", filename=str(path))
        return path

    async def disk_traffic(self) -> tuple[int, int]:
        """Bytes that the guest has read from and written to disks and CDs since the start."""
        stats = [entry["stats"] for entry in await self.monitor.execute("query-blockstats")]
        read = sum(int(stat.get("rd_bytes", 0)) for stat in stats)
        return read, sum(int(stat["wr_bytes"]) for stat in stats)

    def cpu_seconds(self) -> float | None:
        """Processor time that QEMU has used; ``None`` when nobody can say."""
        try:
            words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, AttributeError):
            return None
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    # The end

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self.process.returncode is None

    async def ended(self, patience: float) -> bool:
        """Whether the process has ended within ``patience`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), max(patience, 0.01))
        return not self.alive

    def ending(self) -> Ending:
        """How it ended; only to be asked when the process is gone."""
        said = [event for event in self.events if event["event"] == "SHUTDOWN"]
        reason = str(said[-1]["data"]["reason"]) if said else "died"
        code = self.process.returncode
        return Ending(reason, -1 if code is None else code, self.rung)

    async def wait_end(self, deadline: float) -> Ending:
        """Wait until the process has ended by itself; raises :class:`Timeout`."""
        if not await self.ended(deadline):
            last = (self.console.since(0) or [""])[-1]
            raise Timeout(
                f"{self.spec.name}: did not power off within {deadline:g} s; last line: {last!r}",
                evidence=self.evidence,
            )
        await self.monitor.drained()
        return self.ending()

    async def shutdown(self, soft: Act | None, deadline: float) -> Ending:
        """Power off: the guest's own command, its power button, then harder until it has ended.

        The soft rungs get ``deadline`` seconds each. ``Ending.rung`` names the one that did it and
        ``Ending.clean`` says whether the guest shut itself down.
        """
        gentle = [Rung("guest", soft, deadline)] if soft else []
        button = Rung("power-button", lambda: self.monitor.execute("system_powerdown"), deadline)
        return await self._descend([*gentle, button, *self._hard()])

    async def kill(self) -> Ending:
        """End it at once, with no word to the guest."""
        return await self._descend(self._hard())

    def _hard(self) -> list[Rung]:
        async def terminate() -> None:
            with suppress(ProcessLookupError):
                self.process.terminate()

        async def kill() -> None:
            with suppress(ProcessLookupError):
                self.process.kill()

        return [
            Rung("quit", lambda: self.monitor.execute("quit"), QUIT_PATIENCE),
            Rung("SIGTERM", terminate, SIGNAL_PATIENCE),
            Rung("SIGKILL", kill, SIGNAL_PATIENCE),
        ]

    async def _descend(self, rungs: Sequence[Rung]) -> Ending:
        self.stopping = True
        self.rung = await descend(rungs, self.ended) or self.rung
        await self.monitor.drained()
        return self.ending()

    # Words for errors

    def last_words(self) -> str:
        """The end of QEMU's own log."""
        log = self.evidence / "qemu.log"
        return tail(log.read_text(errors="replace")) if log.exists() else ""

    def how_it_died(self) -> str:
        """``exit code 1`` or the signal, and what QEMU said last."""
        code = self.process.returncode
        words = [ending(code) if code is not None else "running", self.last_words()]
        return "\n".join(word for word in words if word)
