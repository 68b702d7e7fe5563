"""Validation of files from anywhere: hostile, broken, strange; and what messages say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.answers.findings import Severity
from pipeline.answers.passwords import encode
from pipeline.answers.rules.rule import RULES
from pipeline.answers.rules.settings import known
from pipeline.answers.validate import FACTS, LARGEST, require_valid, validate
from pipeline.foundation.errors import PipelineError
from tests.unit.answers import samples
from tests.unit.answers.mutate import bases, element, swap, within

OPEN = '<unattend xmlns="urn:schemas-microsoft-com:unattend">'
SECRET = "Canary-9.of_the_build"


def rules(xml: str | bytes) -> list[str]:
    """The rules that find something in a file."""
    data = xml.encode() if isinstance(xml, str) else xml
    return [finding.rule for finding in validate(data, "file.xml")]


def test_a_local_file_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    doctype = f'<!DOCTYPE unattend [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    found = validate(f"{doctype}{OPEN}&x;</unattend>".encode(), "file.xml")
    assert [finding.rule for finding in found] == ["doctype"]
    assert SECRET not in found[0].text("file.xml")


def test_an_external_document_type_is_refused() -> None:
    doctype = '<!DOCTYPE unattend SYSTEM "http://127.0.0.1:1/x.dtd">'
    assert rules(f"{doctype}{OPEN}</unattend>") == ["doctype"]


def test_entities_that_multiply_end_at_once() -> None:
    entities = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
    )
    assert rules(f"<!DOCTYPE unattend [{entities}]>{OPEN}&a11;</unattend>") in (
        ["doctype"],
        ["xml"],
    )


def test_a_document_type_is_seen_in_any_encoding() -> None:
    declaration = "<?xml version='1.0' encoding='utf-16'?>"
    text = f"{declaration}<!DOCTYPE unattend [<!ENTITY a 'b'>]>{OPEN}</unattend>"
    assert rules(text.encode("utf-16")) == ["doctype"]


def test_utf_16_is_read() -> None:
    text = samples.answers()["autounattend.xml"].replace("'utf-8'", "'utf-16'")
    assert rules(text.encode("utf-16")) == []


def test_elements_nested_without_end_are_refused() -> None:
    assert rules(OPEN + "<a>" * 5000 + "</a>" * 5000 + "</unattend>") == ["xml"]


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"hello", b"<", b"\xff\xfe\xfa"])
def test_what_is_no_xml_is_said_with_a_line(data: bytes) -> None:
    (finding,) = validate(data, "file.xml")
    assert (finding.rule, finding.line >= 1) == ("xml", True)


def test_broken_xml_says_where() -> None:
    lines = samples.answers()["autounattend.xml"].splitlines()
    at = next(n for n, line in enumerate(lines) if "</OSImage>" in line)
    lines[at] = ""
    (finding,) = validate("\n".join(lines).encode(), "file.xml")
    assert finding.line > at
    assert "OSImage" in finding.message


def test_the_size_is_bounded() -> None:
    assert rules(b" " * (LARGEST + 1)) == ["size"]


def test_an_empty_answer_file_is_fine() -> None:
    assert rules(f"{OPEN}</unattend>") == []


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_findings_and_no_error(data: bytes) -> None:
    assert validate(data, "file.xml")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_with_any_piece_cut_out_gives_no_error(data: st.DataObject) -> None:
    text = bases()["uefi"]
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 200))
    validate((text[:start] + text[start + length :]).encode(), "file.xml")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_value_in_place_of_another_gives_no_error(data: st.DataObject) -> None:
    names = ["Order", "DiskID", "Size", "Type", "Value", "Key", "Path", "Extend", "Group", "Format"]
    name = data.draw(st.sampled_from(names))
    value = data.draw(st.text(st.characters(exclude_characters="<&", codec="ascii"), max_size=20))
    printable = "".join(char for char in value if char.isprintable())
    text = element(name, f"<{name}>{printable}</{name}>")(bases()["bios"])
    validate(text.encode(), "file.xml")


@pytest.mark.parametrize(
    "broken",
    [
        encode(SECRET, "Wrong"),
        SECRET,
        encode(SECRET, "AdministratorPassword"),
    ],
)
def test_no_message_repeats_a_password(broken: str) -> None:
    text = bases()["uefi"]
    for plain in ("true", "false"):
        password = f"<Password><Value>{broken}</Value><PlainText>{plain}</PlainText></Password>"
        twice = password.replace("<PlainText>", f"<Value>{broken}</Value><PlainText>")
        for given_password in (password, twice, f"<Password>{broken}</Password>"):
            found = validate(
                within("AutoLogon", element("Password", given_password))(text).encode(), "f"
            )
            assert found
            assert not any(broken in f.text("f") or SECRET in f.text("f") for f in found)


def test_a_broken_product_key_is_not_repeated() -> None:
    text = swap("ABCDE-FGHIJ-KLMNO-PQRST-UVWXY", "ABCDE-FGHIJ-KLMNO-PQRST-UVWX")(bases()["client"])
    (finding,) = validate(text.encode(), "f")
    assert "ABCDE" not in finding.text("f")


def test_a_misplaced_setting_is_told_where_it_belongs() -> None:
    text = swap("<DiskID>0</DiskID>", "<DiskID>0</DiskID><WillShowUI>Never</WillShowUI>")
    (finding,) = validate(text(bases()["uefi"]).encode(), "f")
    assert "DiskConfiguration/WillShowUI" in finding.fix


def test_a_misspelt_setting_is_told_the_right_name() -> None:
    text = element("HideEULAPage", "<HideEulaPage>true</HideEulaPage>")(bases()["uefi"])
    (finding,) = validate(text.encode(), "f")
    assert finding.fix == "did you mean HideEULAPage?"


def test_the_pass_of_a_misplaced_setting_is_named() -> None:
    text = swap("<OOBE>", "<ComputerName>a-name</ComputerName><OOBE>")(bases()["uefi"])
    (finding,) = validate(text.encode(), "f")
    assert finding.fix == "move it to: offlineServicing, specialize"
    assert finding.path == "oobeSystem/Microsoft-Windows-Shell-Setup/ComputerName"
    assert "<ComputerName>a-name" in text.splitlines()[finding.line - 1]


def test_items_of_a_list_are_told_apart_in_paths() -> None:
    text = swap("<Type>Primary", "<Type>Secondary")(bases()["uefi"])
    (finding, *_) = validate(text.encode(), "f")
    assert finding.path.endswith("CreatePartitions/CreatePartition[3]/Type")


def test_require_valid_says_everything_at_once() -> None:
    text = bases()["uefi"].replace("<TimeZone>UTC", "<TimeZone>Mars").replace("MSR", "XSR")
    with pytest.raises(PipelineError) as caught:
        require_valid(text.encode(), "image/autounattend.xml")
    assert "Mars" in caught.value.message
    assert "XSR" in caught.value.message
    assert "image/autounattend.xml:" in caught.value.message
    require_valid(bases()["uefi"].encode(), "image/autounattend.xml")


def test_every_rule_has_a_fact() -> None:
    assert all(rule.fact for rule in RULES)
    assert all(FACTS.values())


def test_the_known_gaps_of_the_reference_are_closed() -> None:
    shell = known()["microsoft-windows-shell-setup"]
    assert shell["OOBE/SkipMachineOOBE"] == shell["OOBE/SkipUserOOBE"] == {"oobeSystem"}
    assert "specialize" in shell["OEMInformation/SupportProvider"]
    sessions = known()["microsoft-windows-terminalservices-localsessionmanager"]
    assert "specialize" in sessions["fDenyTSConnections"]


def test_groups_are_valid_where_their_settings_are() -> None:
    for settings_of_one in known().values():
        for path, passes in settings_of_one.items():
            parent = path.rpartition("/")[0]
            assert not parent or passes <= settings_of_one[parent]


def test_severity_orders_errors_first() -> None:
    text = element("HideEULAPage", "<HideEulaPage>x</HideEulaPage><ProtectYourPC>9</ProtectYourPC>")
    found = validate(text(bases()["uefi"]).encode(), "f")
    assert [finding.line for finding in found] == sorted(finding.line for finding in found)
    assert {finding.severity for finding in found} == {Severity.ERROR, Severity.WARNING}
