"""The plans that both agents are given: a shipped image's, every kind of step, and failures.

Goes in: a :class:`Side`, on which what the plans need is put in place. Comes out: ``CASES``, and
``CALLS``, the ways in which the agent itself is called.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.answers.payloads import Artifact, Resolved, resolve
from pipeline.answers.planning import Plan
from pipeline.answers.plans import bootstrap_plan, provision_plan
from pipeline.definitions.model import Image, Interpreter
from pipeline.inputs.drivers import Driver
from pipeline.rehearsal import driver_disc
from pipeline.rehearsal.guest.msi import Package
from tests.powershell.fake_machine import ADMINISTRATORS, SYSTEM, package
from tests.powershell.parity import GOLDEN, Side, Step
from tests.unit.answers import samples

ROUND = ("Test", "Apply", "Test", "Apply")
ONCE = ("Test", "Apply")
SET = ("Apply", "Test")
SMALL = (Path(__file__).parents[1] / "unit/rehearsal/small.msi").read_bytes()
GOLDEN_SID = "S-1-5-21-1-2-3-1000"  # of the fake machine's first account
Make = Callable[[Side], list[list[Step]]]


@dataclass(frozen=True, slots=True)
class Case:
    """Plans, one after another on the same machine, each run in these modes."""

    name: str
    plans: Make
    modes: Sequence[str] = ROUND


def steps(*made: Step) -> Make:
    """One plan that needs nothing to be there."""
    return lambda _side: [numbered(made)]


def plans(*made: Step) -> Make:
    """Several plans of one step each: what one has left is there for the next one."""
    return lambda _side: [numbered([one]) for one in made]


def numbered(made: Sequence[Step]) -> list[Step]:
    return [{"id": f"s{number}"} | step for number, step in enumerate(made, 1)]


# The plans of a shipped image


def msi(code: str, feature: str, **more: Any) -> tuple[bytes, bytes]:
    """A package: as the fake machine reads it, and a real one."""
    old = Package(SMALL).properties["ProductCode"].encode()
    real = SMALL.replace(old, code.encode()).replace(b"F.User", feature.encode())
    version = Package(real).properties["ProductVersion"]
    return package(code, version, **more).encode(), real


def code(number: int) -> str:
    return f"{{{number:08}-2FA6-5CD0-AC4B-1A7D88A90AAA}}"


class Sources:
    """The rehearsal's artifacts: real driver packages, and installers for either machine."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def pin(self, name: str) -> Artifact:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        made = {"winfsp": (1, "F.User"), "openssh": (2, "Server")}[name.partition("-")[2]]
        path = self.side.c.parent / f"{name}.msi"
        path.write_bytes(msi(code(made[0]), made[1])[0 if self.side.fake else 1])
        return Artifact(path)

    def repository(self, path: str) -> Path:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        raise LookupError(path)

    def drivers(self, pin: str, driver: str) -> Sequence[Driver]:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        kind = next(kind for kind in driver_disc.KINDS if kind.folder == driver)
        files = driver_disc.package(kind, "2k25", "0.1.302")
        return [Driver(driver, f"{kind.file}.inf", "100.100.302.0", files)]


def rehearsal() -> Image:
    """The rehearsal's image without what only a stand-in can run."""
    image = samples.shipped()["rehearsal"][0]
    own = [step for step in image.provision if step.interpreter is not Interpreter.STAND_IN]
    assert len(own) < len(image.provision)
    return dataclasses.replace(image, provision=tuple(own))


def shipped(plan: Plan) -> Make:
    """A plan as the stages resolve it."""

    def make(side: Side) -> list[list[Step]]:
        resolved: Resolved = resolve(plan, Sources(side))
        for name, content in resolved.payloads.items():
            side.payload(name, content if isinstance(content, bytes) else content.read_bytes())
        return [resolved.plan["steps"]]

    return make


# Kinds of step

KEY = r"HKLM:\SOFTWARE\Parity"


def registry(value: Any, kind: str = "String", name: str = "n", **more: Any) -> Step:
    return {
        "kind": "registry",
        "key": KEY,
        "name": name,
        "type": kind,
        "value": value,
        **more,
    }


def file(path: str, **keys: Any) -> Step:
    return {"kind": "file", "path": f"C:\\Parity\\{path}", **keys}


def acl(path: str, *entries: tuple[str, str]) -> Step:
    found = [{"identity": identity, "rights": rights} for identity, rights in entries]
    return {"kind": "acl", "path": f"C:\\Parity\\{path}", "entries": found}


FULL = ((SYSTEM, "FullControl"), (ADMINISTRATORS, "FullControl"))
MIXED = ((SYSTEM, "FullControl"), ("S-1-5-32-545", "ReadAndExecute"))


def service(**keys: Any) -> Step:
    return {"kind": "service", "name": "Parity", **keys}


def program(**keys: Any) -> Step:
    return service(binary=r"C:\Parity Programs\p.exe", **keys)


def with_program(*made: Step) -> Make:
    def make(side: Side) -> list[list[Step]]:
        side.file("Parity Programs/p.exe")
        return plans(*made)(side)

    return make


def user(**keys: Any) -> Step:
    return {"kind": "user", "name": "ann", **keys}


def firewall(**keys: Any) -> Step:
    return {"kind": "firewall", "name": "Rule", "display_name": "A rule", "port": 2222, **keys}


def from_payload(side: Side) -> list[list[Step]]:
    data = side.payload("p/data.bin", bytes(range(256)))
    copy = side.payload("p/beside.bin", b"beside")
    return [numbered([file("data.bin", payloads=[data, copy])])]


def absent(side: Side) -> list[list[Step]]:
    side.file("Parity/old.txt", b"old")
    side.value(r"SOFTWARE\Parity", "old", "x")
    gone = [
        file("old.txt", ensure="absent"),
        file("never.txt", ensure="absent"),
        {"kind": "registry", "key": KEY, "name": "OLD", "ensure": "absent"},
        {"kind": "registry", "key": r"HKLM:\SOFTWARE\No\Key", "name": "x", "ensure": "absent"},
    ]
    return [numbered(gone)]


def driver(kind: driver_disc.Kind, *versions: str) -> Make:
    """A driver in these versions, one after another."""

    def make(side: Side) -> list[list[Step]]:
        made = []
        for version in versions:
            files = driver_disc.package(kind, "2k25", version)
            names = sorted(files, key=lambda name: not name.endswith(".inf"))
            payloads = [side.payload(f"{version}/{name}", files[name]) for name in names]
            made.append({"kind": "driver", "name": kind.folder, "payloads": payloads})
        return plans(*made)(side)

    return make


def access(side: Side) -> list[list[Step]]:
    side.file("Parity/locked/x.txt")
    return plans(acl("locked", *FULL), acl("locked", *MIXED), acl("locked/x.txt", *FULL))(side)


def rewritten(_side: Side) -> list[list[Step]]:
    lock = acl("keys.txt", *FULL)
    return [numbered([file("keys.txt", content=text), lock]) for text in ("a", "b")]


def older_version(side: Side) -> list[list[Step]]:
    uninstall = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall"
    side.value(f"{uninstall}\\{code(3)}", "DisplayVersion", "1.0.0")
    payload = side.payload("upgrade.msi", msi(code(3), "F.User"))
    return [numbered([{"kind": "msi", "payloads": [payload]}])]


# Failures that both can have


def wrong_digest(side: Side) -> list[list[Step]]:
    good = side.payload("p/good.bin", b"good")
    bad = side.payload("p/bad.bin", b"bad") | {"sha256": "0" * 64}
    return [
        numbered(
            [file("first.txt", content="1"), file("bad", payloads=[bad]), file("c", content="3")]
        ),
        numbered([file("second", payloads=[good, bad])]),
    ]


def refused_msi(side: Side) -> list[list[Step]]:
    payload = side.payload("refused.msi", msi(code(4), "F.User", exit=1603))
    step = {"kind": "msi", "payloads": [payload], "properties": {"ADDLOCAL": "Nothing"}}
    return [numbered([step, registry("1", name="after")])]


def no_msi(side: Side) -> list[list[Step]]:
    payload = side.payload("no.msi", b"<html>not found</html>")
    return [numbered([{"kind": "msi", "payloads": [payload]}, registry("1", name="after")])]


def folder_in_the_way(side: Side) -> list[list[Step]]:
    side.file("Parity/folder/x.txt")
    return [numbered([file("folder", content="x")]), numbered([file("folder", ensure="absent")])]


def missing(kind: str, file: str, /, **keys: Any) -> Step:
    return {"kind": kind, "payloads": [{"file": file, "sha256": "0" * 64}], **keys}


def update(side: Side) -> list[list[Step]]:
    fake = json.dumps({"kb": "KB5031234"}).encode()
    payload = side.payload("u.msu", (fake, b"MSCF..."))
    step = {"kind": "update", "kb": "KB5031234", "payloads": [payload]}
    return [numbered([step, registry("1", name="after-update")])]


def powershell_script(side: Side) -> list[list[Step]]:
    return [numbered([{"kind": "script", "payloads": [side.payload("s.ps1", b"exit 0\n")]}])]


BASED = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending"
CASES = [
    Case("bootstrap", shipped(bootstrap_plan(rehearsal()))),
    Case("provision", shipped(provision_plan(rehearsal()))),
    Case("empty", steps(), ONCE),
    Case("long-name" * 24, steps(registry("1", name="long")), ONCE),
    Case(
        "file",
        plans(
            file("new/folder/a.txt", content="Gr\u00fc\u00dfe\r\n\u20ac"),
            file("new/folder/a.txt", content="gr\u00fc\u00dfe\r\n\u20ac"),
            file("new/folder/a.txt", content=""),
        ),
        ("Test", "Apply", "Apply"),
    ),
    Case("file-payload", from_payload),
    Case("absent", absent),
    Case(
        "registry",
        plans(
            registry("A b"),
            registry("a b"),
            registry(""),
            registry("%SystemRoot%\\x", "ExpandString"),
            registry(1, "DWord"),
            registry(4294967295, "DWord"),
            registry(2**64 - 1, "QWord"),
            registry(["a", "b c"], "MultiString"),
            registry(["b c", "a"], "MultiString"),
            registry(["only"], "MultiString"),
            registry([], "MultiString"),
            registry("only", name="N"),
        ),
        SET,
    ),
    Case(
        "numbers-as-texts",
        plans(registry(26, "DWord"), registry("26", "DWord"), registry("0x1A", "DWord")),
        ONCE,
    ),
    Case("default-type", steps({"kind": "registry", "key": KEY, "name": "d", "value": "v"})),
    Case(
        "service",
        with_program(
            program(display_name="Parity", depend=["WinFsp.Launcher"]),
            program(depend=["WinFsp.Launcher", "sshd"], start="demand"),
            program(state="stopped"),
            service(start="disabled", state="any"),
            program(start="auto", state="any"),
            program(),
            service(depend=["sshd"], start="demand"),
            service(depend=["SSHD"], start="demand"),
            service(depend=[], start="demand"),
            service(binary=r"c:\parity programs\P.EXE", depend=["sshd"], start="demand"),
            program(),
        ),
        SET,
    ),
    Case("acl", access, SET),
    Case("acl-of-a-new-content", rewritten, SET),
    Case("driver", driver(driver_disc.KINDS[0], "0.1.301", "0.1.302"), SET),
    Case("driver-older", driver(driver_disc.KINDS[2], "0.1.302", "0.1.301"), SET),
    Case("firewall-names", plans(firewall(), firewall(name="RULE")), SET),
    Case("firewall", plans(firewall(), firewall(port=2223), firewall(protocol="UDP")), SET),
    Case(
        "user",
        plans(
            user(groups=[ADMINISTRATORS]),
            user(enabled=False),
            user(groups=[ADMINISTRATORS, "S-1-5-32-545"]),
            user(name="ANN", groups=[]),
            user(name="golden", groups=[ADMINISTRATORS]),
        ),
        ONCE,
    ),
    Case("older-msi", older_version),
    Case("always", steps({"kind": "reboot", "when": "always"}, registry("1", name="later"))),
    # failures
    Case("wrong-digest", wrong_digest, ONCE),
    Case(
        "payload-missing",
        plans(
            missing("msi", "none.msi"),
            missing("file", "none.bin", path="C:\\Parity\\none"),
            missing("script", "none.ps1"),
            missing("driver", "none/d.inf", name="d"),
            missing("update", "none.msu", kb="KB1"),
        ),
        ONCE,
    ),
    Case("msi-1603", refused_msi, ONCE),
    Case("msi-that-is-none", no_msi, ONCE),
    Case("acl-of-nothing", plans(acl("nothing", *FULL)), ONCE),
    Case("service-unknown", plans({"kind": "service", "name": "NoSuchService"}), ONCE),
    Case(
        "service-cannot-start",
        with_program(
            program(name="Lost", depend=["Nothing"]),
            program(name="Off", start="disabled"),
        ),
        ONCE,
    ),
    Case("user-group", plans(user(name="eve", groups=["S-1-5-32-999"]))),
    Case("user-name", plans(user(name="a" * 21)), ONCE),
    Case("folder", folder_in_the_way, ONCE),
    Case("no-drive", plans({"kind": "file", "path": "Q:\\x.txt", "content": "x"}), ONCE),
    Case(
        "the-rest-is-not-begun",
        steps(registry("1", name="a"), acl("nothing", *FULL), registry("1", name="b")),
        ("Test", "Apply", "Test"),
    ),
    Case("script", powershell_script, ONCE),
    # what leaves a restart pending comes last
    Case(
        "pending",
        steps({"kind": "registry", "key": BASED, "name": "x", "value": "1"}, {"kind": "reboot"}),
    ),
    Case("update", update, ("Test", "Apply", "Apply", "Test")),
]
# How the agent is called: exit code 2 unless it is understood.
CALLS: dict[str, list[str]] = {
    "no-arguments": [],
    "no-mode": ["-Plan", f"{GOLDEN}\\empty-1.json"],
    "no-plan": ["-Mode", "Apply"],
    "other-mode": ["-Mode", "Look", "-Plan", f"{GOLDEN}\\empty-1.json"],
    "plan-missing": ["-Mode", "Apply", "-Plan", r"C:\none.json"],
    "unknown": ["-Mode", "Apply", "-Plan", f"{GOLDEN}\\empty-1.json", "-Extra", "1"],
    "timeout": ["-Mode", "Test", "-Plan", f"{GOLDEN}\\empty-1.json", "-BusyTimeout", "soon"],
    "timeouts": [
        *("-Mode", "Test", "-Plan", f"{GOLDEN}\\empty-1.json", "-ProgramTimeout", "1"),
        *("-ServiceTimeout", "1", "-BusyTimeout", "0"),
    ],
    "log": ["-Mode", "Test", "-Plan", f"{GOLDEN}\\empty-1.json", "-Log", r"C:\Windows"],
    "any-case": ["-mode", "TEST", "-PLAN", f"{GOLDEN}\\empty-1.json"],
    "folders": [
        *("-Mode", "Test", "-Plan", f"{GOLDEN}\\file-payload-1.json"),
        *("-Payload", r"C:\Elsewhere", "-Log", r"C:\Logs\one.log"),
    ],
}
