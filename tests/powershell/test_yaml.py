"""First boot's reader of YAML against PyYAML: what it reads is the same, or it says that it cannot.

User-data is seldom written by hand: what ``yaml.dump`` makes of it, which breaks long texts (an SSH
key with its remark is one) over several lines, has to arrive.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml

from tests.powershell import fake_machine
from tests.powershell.fake_machine import HERE, FakeMachine, Run, find_powershell

pytestmark = pytest.mark.powershell

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "k3J7" * 12 + " owner@a-laptop.example.org"
PIECES = [
    *"ab01#',[]{}-&*!|>%@`~=?.:\n\t \"\\",
    *("  ", ": ", " #", "- ", "\n\n", "\r\n", "true", "null", "\u00e9", "\u20ac", "\U0001f600"),
]
STYLES = [None, None, '"', "'", "|", ">"]
SEED = 20261124


def text(chance: random.Random) -> str:
    return "".join(chance.choices(PIECES, k=chance.randint(0, chance.choice([4, 8, 40]))))


def texts(chance: random.Random, least: int = 0) -> list[str]:
    return [text(chance) for _ in range(chance.randint(least, 3))]


def document(chance: random.Random) -> dict[str, Any]:
    """Some user-data, in the shapes that are known."""
    user = {"name": text(chance), "groups": texts(chance), "ssh_authorized_keys": [KEY]}
    parts: dict[str, Any] = {
        "hostname": text(chance),
        "users": [chance.choice([text(chance), user]) for _ in range(chance.randint(0, 3))],
        "runcmd": [chance.choice([text(chance), texts(chance, 1)]) for _ in range(3)],
        "ssh_authorized_keys": [KEY] * chance.randint(0, 2),
    }
    return {"runcmd": ["x"]} | {key: parts[key] for key in chance.sample([*parts], 3)}


class Plain(yaml.SafeDumper):
    """What is there twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class Deeper(Plain):
    """Lists are indented deeper than their key, as most people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def dumped(data: object, chance: random.Random) -> str:
    made = yaml.dump(
        data,
        Dumper=chance.choice([Plain, Deeper]),
        default_style=chance.choice(STYLES),
        default_flow_style=chance.choice([False, False, None]),
        indent=chance.choice([2, 4]),
        width=chance.choice([30, 80, 80, 10**6]),
        allow_unicode=chance.random() < 0.5,
        line_break=chance.choice(["\n", "\r\n"]),
    )
    assert yaml.safe_load(made) == data
    return str(made)


def read(machine: FakeMachine, given: list[str]) -> list[dict[str, Any]]:
    """What the reader makes of each text: ``read`` and ``told``."""
    file = machine.folder / "texts.json"
    file.write_text(json.dumps(given))
    script = str(HERE / "doubles" / "read-yaml.ps1")
    reader = str(fake_machine.GUEST / "firstboot.ps1")
    (ran,) = machine.run(Run(script, ["-Reader", reader, "-Texts", str(file)]))
    assert ran.exit == 0, ran.text
    lines = [line for line in ran.text.splitlines() if line.startswith("##read ")]
    return [json.loads(line.removeprefix("##read ")) for line in lines]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FakeMachine:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    return FakeMachine(tmp_path_factory.mktemp("yaml"))


def test_whatever_is_dumped_is_read_as_it_was(reader: FakeMachine) -> None:
    chance = random.Random(SEED)
    data = [document(chance) for _ in range(300)]
    made = [dumped(one, chance) for one in data]
    for wanted, given, found in zip(data, made, read(reader, made), strict=True):
        assert found == {"read": wanted, "told": []}, given


# What people write by hand, where it differs from what is dumped.
BY_HAND = [
    "runcmd:\n  - echo a   # a remark\n  # another\n  - echo b # c\n    \n",
    "runcmd:\n  - echo a\n    goes on\n    here # and ends\n  - [a,\n     b, 'c\n     d'] # so\n",
    "runcmd:\n  - [ a , \"b, c\" , 'd]', e ]\n  - []\n  - [a, ]\nusers: []\n",
    "runcmd:\n  - >\n    a\n    b\n\n      indented\n      more\n\n    c\n\n\n    d\n",
    "runcmd:\n  - |\n\n    # no remark\n      deeper\n    \ttab\n  -   |-\n      x\n",
    "runcmd:\n  - >+\n    a\n\n\n  - |2\n      b\n",
    "---\n# the start\nhostname: a\nusers:\n- name: b\n  groups: [x]\n\n-\n  name: c\n",
    "hostname:\n  web\nruncmd:\n  -\n    deep\n  - - a\n    - b\n",
    "hostname: \"a \\\n  b\"\nruncmd: ['it''s', \"\\x41\\u0042\\U00000043\\e\\0\\/\"]\n",
    "hostname: 'a\n\n  b'\nusers: [\n  a,\n  b\n]\n",
    "hostname: a: b\n".replace(": b", ":b"),
    "hostname: it's\nruncmd: [it's, say \"x\"]\n",
    "users:\n  [a]\nruncmd:\n  -\n    [b]\n  -\n    [c, d]\n",
]


def test_what_people_write_is_read_as_pyyaml_reads_it(reader: FakeMachine) -> None:
    for given, found in zip(BY_HAND, read(reader, BY_HAND), strict=True):
        assert found == {"read": yaml.safe_load(given), "told": []}, given


def test_json_is_read_as_json(reader: FakeMachine) -> None:
    """What escapes all beyond ASCII writes an emoji as two halves, which PyYAML leaves apart."""
    wanted = {"hostname": "\U0001f600", "runcmd": ["\u20ac", "a\U0001f680b"]}
    given = "".join(f"{key}: {json.dumps(value)}\n" for key, value in wanted.items())
    assert "\\ud83d\\ude00" in given
    assert read(reader, [given]) == [{"read": wanted, "told": []}]


REFUSED = {
    'hostname: "\\q"\n': "line 1: the escape \\q is not understood",
    'hostname: "\\x4"\n': "line 1: the escape \\x is not understood",
    "hostname: [a] b\n": "line 1: something follows a closing bracket",
    "hostname: 'a' 'b'\n": "line 1: something follows a closing quote",
    "a: b\nhostname: 'it''s\n  not closed\n": "line 2: a quote is not closed",
    "hostname: [a,\n  b\n": "line 1: a [list] is not closed",
    "runcmd:\n  - |0\n    a\n": "line 2: the block header |0 is not understood",
    "runcmd:\n  - a\n   - b\n": "line 3: it is indented differently from the items before it",
    "users:\n  - name: a\n      groups: b\n": "line 3: a key and a colon are expected here",
    "users:\n  - name: 'a\n    groups: b'\n": "line 2: a quote is not closed",
    "users:\n  - name: a\n    b\n": "line 3: a key and a colon are expected here",
    "hostname: a # remark\n  b\n": "line 2: a key and a colon are expected here",
    "{hostname: a}\n": "line 1: a key and a colon are expected here",
}


def test_what_is_not_understood_is_told_with_its_line(reader: FakeMachine) -> None:
    for (given, told), found in zip(REFUSED.items(), read(reader, [*REFUSED]), strict=True):
        assert found["told"] == [f"it: {told}"], given
        assert "hostname" not in found["read"]


@pytest.mark.parametrize("begin", ['"a', "[a,", "a", "'"])
def test_a_text_without_an_end_is_told_in_no_time(reader: FakeMachine, begin: str) -> None:
    """A mebibyte of lines is what a disc may have; it must not keep its owner out for minutes."""
    given = f"hostname: {begin}\n" + "  some words, and then more\n" * 37000
    (found,) = read(reader, [given])
    assert len(found["told"]) == 1
    assert found["read"] == {}
