"""The programs beside QEMU, for real, in folders with unusual names."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from pipeline.machine.sidecars import swtpm
from tests.tools import needs

CAPABILITIES = struct.pack(">I", 1)


@needs("swtpm")
def test_a_tpm_lives_in_a_folder_with_commas(tmp_path: Path) -> None:
    async def asked() -> bytes:
        async with swtpm(tmp_path / "a, b,c=d" / "tpm", tmp_path) as sidecar:
            sidecar.channel.settimeout(10)
            await asyncio.to_thread(sidecar.channel.send, CAPABILITIES)
            return await asyncio.to_thread(sidecar.channel.recv, 64)

    answer = asyncio.run(asked())
    assert answer[:4] == bytes(4), (tmp_path / "swtpm.log").read_text()
