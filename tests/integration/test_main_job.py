"""The main job, for real: two images built at once, killed, continued, changed, and left alone.

The tests of this file are one story in order; each needs the one before.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from pipeline.answers.first_boot import nocloud_disc
from pipeline.definitions.loader import load
from pipeline.foundation.files import sha256_file
from pipeline.foundation.process import run
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until
from pipeline.guest.keys import make_key_pair
from pipeline.machine import image as qemu_img
from pipeline.stages.build import Build, Work
from pipeline.stages.session import (
    Access,
    build_access,
    hardware,
    overlay,
    phases,
    session,
)
from tests.integration.checkout import Checkout, executed, processes, stages
from tests.integration.published import offer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

IMAGE, BIOS = "rehearsal", "rehearsal-bios"
RESTART = """
  - id: restart-once
    kind: reboot
    when: always
"""
STAGES = ["media", "render", "cidata", "install", "provision", "check", "seal", "prove", "publish"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout.make(tmp_path_factory.mktemp("main job"))
    yield made
    assert processes(str(made.root)) == []
    shutil.rmtree(made.workspace.output)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_windows_image_first_says_how_to_accept_the_licence(checkout: Checkout) -> None:
    output = checkout.doit("build", ok=False)
    assert "accept_eula: true" in output
    assert "Traceback" not in output
    assert [task for task in executed(output) if task.startswith("fetch:")] == []


def test_kill_9_during_install_leaves_no_machine(checkout: Checkout) -> None:
    process = checkout.start(f"build:{IMAGE}")
    com1 = checkout.workspace.build(IMAGE) / ".install.work" / "evidence" / "com1.log"
    wait_until(
        "Setup is running",
        lambda: com1.exists() and b"GOLDEN pass windowsPE" in com1.read_bytes(),
        900,
        every=0.5,
    )
    assert processes(str(com1.parent.parent))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until("the machine is gone", lambda: not processes(str(com1.parent.parent)), 10)
    assert "install" not in checkout.runs(IMAGE)


def test_the_next_run_continues_and_two_images_build_at_once(checkout: Checkout) -> None:
    before = checkout.runs(IMAGE)
    output = checkout.doit("-n", "2", f"build:{IMAGE}", f"build:{BIOS}")
    assert f"cidata:{IMAGE}" not in stages(output)
    assert checkout.runs(IMAGE)["cidata"] == before["cidata"]
    for image in (IMAGE, BIOS):
        assert len(checkout.versions(image)) == 1
        assert sorted(checkout.runs(image)) == sorted(STAGES)


@pytest.mark.parametrize("image", [IMAGE, BIOS])
def test_the_published_disk_is_whole_and_compressed(checkout: Checkout, image: str) -> None:
    folder = checkout.versions(image)[0].parent
    disk = folder / "disk.qcow2"
    run(["qemu-img", "check", disk], deadline=60)
    info = json.loads(run(["qemu-img", "info", "--output=json", disk], deadline=60).output)
    assert info["format-specific"]["data"]["compression-type"] == "zstd"
    assert "backing-filename" not in info
    run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], deadline=60, cwd=folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["rehearsal"] is True
    assert manifest["checks"]["failed"] == 0
    assert manifest["checks"]["passed"] > 20
    assert passed(folder, "check") >= {
        ("virtio-fs", "round-trip"),
        ("provision", "virtiofs-service"),
    }
    assert passed(folder, "prove") >= {("virtio-fs", "round-trip"), ("nocloud", "first-boot")}
    index = json.loads(checkout.workspace.catalog.read_text())
    assert index["images"][image]["newest"] == folder.name
    if image == IMAGE:
        offer(checkout.workspace, folder)


def passed(folder: Path, stage: str) -> set[tuple[str, str]]:
    """The checks of a stage that held, by group and name, as the version carries them for CI."""
    cases = ET.parse(folder / f"{stage}-junit.xml").iter("testcase")
    held = [case for case in cases if case.find("failure") is None]
    return {(case.get("classname", ""), case.get("name", "")) for case in held}


def test_nothing_published_or_kept_holds_a_secret(checkout: Checkout) -> None:
    """Not the password, in whatever form, nor a private key outside of its own file."""
    from pipeline.answers.disc import read_disc

    cidata = read_disc(checkout.workspace.stage(IMAGE, "cidata") / "cidata.iso")
    answers = cidata["autounattend.xml"].decode()
    secret = answers.split("<Password>")[1].split("<Value>")[1].split("<")[0].encode()
    for path in checkout.workspace.output.rglob("*"):
        if path.suffix in (".iso", ".qcow2", ".db") or not path.is_file():
            continue
        data = path.read_bytes()
        assert secret not in data, path
        kept = path.name == "build-key" or path.parent == checkout.workspace.keys
        assert b"PRIVATE KEY" not in data or kept, path
    assert (
        checkout.workspace.stage(IMAGE, "cidata").joinpath("cidata.iso").stat().st_mode & 0o77 == 0
    )


def test_a_second_run_does_nothing(checkout: Checkout) -> None:
    before = checkout.runs(IMAGE)
    assert stages(checkout.doit(f"build:{IMAGE}", f"build:{BIOS}")) == []
    assert checkout.runs(IMAGE) == before


def test_without_doits_memory_still_no_stage_runs(checkout: Checkout) -> None:
    before = checkout.runs(IMAGE)
    for path in checkout.workspace.output.glob(".doit*"):
        path.unlink()
    assert stages(checkout.doit(f"build:{IMAGE}")) == []
    assert checkout.runs(IMAGE) == before
    assert len(checkout.versions(IMAGE)) == 1


def test_a_comment_in_a_template_runs_nothing_beyond_render(checkout: Checkout) -> None:
    template = checkout.workspace.templates / "answer" / "autounattend.xml.j2"
    edit(template, "<unattend", "{# a remark #}<!-- another --><unattend")
    assert set(stages(checkout.doit(f"build:{IMAGE}"))) <= {f"render:{IMAGE}"}
    checkout.doit(f"build:{IMAGE}")
    assert len(checkout.versions(IMAGE)) == 1


def test_a_deleted_version_is_published_again_and_nothing_else_runs(checkout: Checkout) -> None:
    version = checkout.versions(IMAGE)[0].parent
    shutil.rmtree(version)
    assert stages(checkout.doit(f"build:{IMAGE}")) == [f"publish:{IMAGE}"]
    assert len(checkout.versions(IMAGE)) == 1


def test_a_changed_step_provisions_again_and_never_reinstalls(checkout: Checkout) -> None:
    before = checkout.runs(IMAGE)
    definition = checkout.workspace.images / f"{IMAGE}.yaml"
    edit(definition, "This is a rehearsal.", "This is another.")
    definition.write_text(definition.read_text().rstrip() + RESTART)
    plan = checkout.plan(IMAGE)
    assert any("This is" in reason for reason in plan["provision"]["reasons"])
    ran = stages(checkout.doit(f"build:{IMAGE}"))
    wanted = ["provision", "check", "seal", "prove", "publish"]
    assert [task for task in ran if task != f"render:{IMAGE}"] == [f"{s}:{IMAGE}" for s in wanted]
    after = checkout.runs(IMAGE)
    assert {s for s in STAGES if before[s] != after[s]} <= {"render", *wanted}
    assert before["install"] == after["install"]
    log = checkout.workspace.stage(IMAGE, "provision") / "evidence" / "qmp.log"
    assert '"RESET"' in log.read_text()  # the new step restarted the guest, for real
    assert len(checkout.versions(IMAGE)) == 2


def test_a_published_image_needs_nothing_of_its_build(checkout: Checkout, tmp_path: Path) -> None:
    """It boots as a consumer's machine while all that it was made from is away."""
    workspace = checkout.workspace
    published = checkout.versions(IMAGE)[-1].parent / "disk.qcow2"
    digest = sha256_file(published)
    build, away = workspace.output / "build", workspace.output / "build-away"
    build.rename(away)
    try:
        assert stages(checkout.doit(f"build:{IMAGE}")) == []  # the catalog is enough
        asyncio.run(_boot_as_a_consumer(checkout, published, tmp_path))
    finally:
        shutil.rmtree(build, ignore_errors=True)
        away.rename(build)
    assert sha256_file(published) == digest


async def _boot_as_a_consumer(checkout: Checkout, published: Path, folder: Path) -> None:
    workspace = replace(checkout.workspace, output=folder / "output")
    definitions = load(checkout.workspace)
    work = Work(Build.of(IMAGE, definitions, workspace), folder, "test", Silent())
    disk, disc, key = folder / "mine.qcow2", folder / "first-boot.iso", folder / "key"
    qemu_img.overlay(disk, published)
    nocloud_disc(disc, [make_key_pair(key)], "consumer", "consumer-1")
    spec = replace(hardware(work.build, disk), cdroms=(disc,))
    access = Access(work.build.image.user, key, None)
    async with session(work, spec, access, phases(work)) as guest:
        assert (await guest.guest.get("/C:/Golden/motd.txt")).strip() == b"This is another."
        await guest.power_off()


@pytest.mark.parametrize("network", [False, True])
def test_the_guest_reaches_nothing_but_its_way_in(
    checkout: Checkout, tmp_path: Path, network: bool
) -> None:
    """A build's guest cannot even reach this host; with the network let in, it can."""
    assert asyncio.run(_reaches_the_host(checkout, tmp_path, network)) == network


async def _reaches_the_host(checkout: Checkout, folder: Path, network: bool) -> bool:
    """Whether the guest gets a connection to a server on this host, through its gateway."""
    work = Work(
        Build.of(IMAGE, load(checkout.workspace), checkout.workspace), folder, "test", Silent()
    )
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    spec = replace(hardware(work.build, overlay(work, "provision")), network=network)
    access = build_access(work)
    async with server, session(work, spec, access, phases(work)) as guest:
        connection = await asyncssh.connect(
            "127.0.0.1", guest.machine.ssh_port, username=access.user,
            client_keys=[str(access.key)], known_hosts=None,
        )  # fmt: skip
        async with connection:
            try:
                async with asyncio.timeout(20):
                    await connection.open_connection("10.0.2.2", port)
            except (asyncssh.ChannelOpenError, TimeoutError):
                reached = False
            else:
                reached = True
        await guest.power_off()
    return reached


def test_another_driver_release_reinstalls(checkout: Checkout) -> None:
    before = checkout.runs(IMAGE)
    pins = checkout.workspace.checksums / "rehearsal.yaml"
    edit(pins, 'version: "0.1.302"', 'version: "0.1.303"')
    reasons = checkout.plan(IMAGE)["cidata"]["reasons"]
    assert any(reason.startswith("drivers.disc") for reason in reasons)
    assert {"cidata", "install", "provision", "publish"} <= set(checkout.running(IMAGE))
    ran = stages(checkout.doit(f"install:{IMAGE}"))
    assert ran[-2:] == [f"cidata:{IMAGE}", f"install:{IMAGE}"]
    assert checkout.runs(IMAGE)["install"] != before["install"]
