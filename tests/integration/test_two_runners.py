"""Two runners that want the same image at the same moment: one installs Windows, both have it.

Real machines and a real registry; each runner has an output folder of its own, as two hosts have.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.foundation.paths import Workspace
from pipeline.foundation.waiting import wait_until
from pipeline.stages.receipts import load
from tests.integration.checkout import Checkout, processes
from tests.services import registry
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

IMAGE = "rehearsal"


class Runner:
    """One host: the checkout of all, and an output folder of its own."""

    def __init__(self, checkout: Checkout, output: Path) -> None:
        self.here = Workspace(checkout.root, output, checkout.workspace.cache)
        self.log = output.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                checkout.command(f"provision:{IMAGE}"), cwd="/", stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=checkout.environment() | {"GOLDEN_OUTPUT": str(output)},
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def made(self, stage: str) -> str:
        """What stands for the product that it has: whoever made it."""
        receipt = load(self.here.receipt(IMAGE, stage))
        assert receipt is not None, self.said
        return receipt.run

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(60)


def test_two_runners_at_once_are_one_install(tmp_path: Path) -> None:
    require("docker-registry")
    checkout = Checkout.make(tmp_path)
    with registry(tmp_path / "registry") as host:
        settings = {"layers": f"oci://{host}/golden-layers"}
        (checkout.root / "golden.yaml").write_text(json.dumps(settings))
        runners = [Runner(checkout, tmp_path / name) for name in ("first", "second")]
        try:
            wait_until(
                "one of them waits for the other's install",
                lambda: any("waiting: install is being made" in r.said for r in runners),
                300,
            )
            for runner in runners:
                assert runner.process.wait(1200) == 0, runner.said
        finally:
            for runner in runners:
                runner.end()
    one, other = runners
    for stage in ("install", "provision"):
        assert one.made(stage) == other.made(stage), f"{stage} was made twice"
    assert processes(str(tmp_path)) == []
