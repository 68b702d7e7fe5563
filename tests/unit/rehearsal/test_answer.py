"""The stand-in's own reading of answer files: what it takes, what it refuses."""

from __future__ import annotations

import base64

import pytest

from pipeline.rehearsal.guest import answer
from pipeline.rehearsal.guest.answer import Refused, password, read, setting, true
from pipeline.rehearsal.guest.rules import TABLE

HEAD = (
    '<unattend xmlns="urn:schemas-microsoft-com:unattend"'
    ' xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">'
)
COMPONENT = (
    '<component name="{}" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"'
    ' language="neutral" versionScope="nonSxS">{}</component>'
)
SETUP = "Microsoft-Windows-Setup"
SHELL = "Microsoft-Windows-Shell-Setup"


def file(body: str, component: str = SETUP, which: str = "windowsPE") -> bytes:
    """An answer file with one component."""
    inner = COMPONENT.format(component, body)
    return f'{HEAD}<settings pass="{which}">{inner}</settings></unattend>'.encode()


def command(order: object, path: str = "x", action: str = ' wcm:action="add"') -> str:
    """A RunSynchronousCommand."""
    return (
        f"<RunSynchronousCommand{action}><Order>{order}</Order><Path>{path}</Path>"
        "</RunSynchronousCommand>"
    )


def commands(*items: str) -> bytes:
    """An answer file with these commands."""
    return file(f"<RunSynchronous>{''.join(items)}</RunSynchronous>")


def test_settings_by_path() -> None:
    found = read(file("<UserData><AcceptEula>true</AcceptEula></UserData>"))["windowsPE"]
    assert true(found, SETUP, "UserData", "AcceptEula")
    assert setting(found, SETUP, "UserData", "FullName", default="-") == "-"


def test_items_come_in_their_order() -> None:
    found = read(commands(command(2, "b"), command(1, "a")))["windowsPE"]
    items = setting(found, SETUP, "RunSynchronous", "RunSynchronousCommand")
    assert [item["Path"] for item in items] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<unattend", "not well-formed"),
        (b"<unattend/>", "name space"),
        (f"{HEAD}<settings pass='windowsPe'/></unattend>".encode(), "not a pass"),
        (file("<AcceptEula>true</AcceptEula>"), "does not exist in this pass"),
        (file("", "Microsoft-Windows-Nothing"), "does not exist in this pass"),
        (file("<ComputerName>a</ComputerName>", SHELL), "does not exist in this pass"),
        (file("<ComputerName>a</ComputerName>", SHELL, "oobeSystem"), "does not exist"),
        (file("<EnableNetwork>yes</EnableNetwork>"), "not true or false"),
        (file("<Restart>Later</Restart>"), "none of Restart, Shutdown"),
        (file("<Restart>Restart</Restart><Restart>Restart</Restart>"), "given twice"),
        (commands(command(1, action="")), "wcm:action"),
        (commands(command(1), command(1)), "used twice"),
        (commands(command(1), command(3)), "without a gap"),
        (commands(command(0)), "not a number from 1"),
        (commands(command(1, "x" * 260)), "more than 259"),
        (file("<UserData><ProductKey><Key></Key></ProductKey></UserData>"), "product key"),
        (file("<ComputerName>sixteen-letters-</ComputerName>", SHELL, "specialize"), "1 to 15"),
        (file("<ComputerName>123</ComputerName>", SHELL, "specialize"), "1 to 15"),
        (file("").replace(b"neutral", b"en-US"), "language"),
        (file("").replace(b"31bf", b"32bf"), "publicKeyToken"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read(data)


def test_another_architecture_is_passed_over() -> None:
    data = file("<Nonsense/>").replace(b'"amd64"', b'"arm64"')
    assert read(data)["windowsPE"] == {SETUP: {}}


def encoded(text: str) -> str:
    """Windows' encoding of a password."""
    return base64.b64encode(text.encode("utf-16-le")).decode()


def test_passwords() -> None:
    assert password({"Value": "plain", "PlainText": "true"}, "Password") == "plain"
    value = {"Value": encoded("s3cretPassword"), "PlainText": "false"}
    assert password(value, "Password") == "s3cret"


@pytest.mark.parametrize("value", ["???", encoded("s3cret"), encoded("xAdministratorPasswor")])
def test_wrongly_encoded_passwords(value: str) -> None:
    with pytest.raises(Refused):
        password({"Value": value, "PlainText": "false"}, "AdministratorPassword")


def test_rules_name_no_kind_that_is_not_read() -> None:
    known = {*answer.SHAPES, *answer.LENGTHS, "computer"}

    def kinds(table: object) -> set[str]:
        if isinstance(table, dict):
            return set().union(*(kinds(value) for value in table.values()))
        return {table} if isinstance(table, str) else set()

    assert kinds(TABLE) <= known
