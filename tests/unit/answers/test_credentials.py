"""Credentials: random, complex, and nowhere but where they are meant to be."""

from __future__ import annotations

import base64
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.answers.credentials import Credentials, substitute, traces
from pipeline.answers.passwords import SUFFIXES, decode, encode
from pipeline.answers.payloads import resolve
from pipeline.answers.plans import bootstrap_plan
from pipeline.answers.validate import validate
from pipeline.definitions.model import Release
from pipeline.foundation.errors import PipelineError
from tests.unit.answers import samples
from tests.unit.answers.artifacts import Nothing

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ build"
CANARY = Credentials("Canary-9.of_the_build", KEY)


def disc_files(release: Release = Release.SERVER_2025) -> dict[str, bytes]:
    """What is put onto the disc and asks for credentials."""
    image = samples.image(release)
    answers = samples.answers(image)["autounattend.xml"].encode()
    plan = resolve(bootstrap_plan(image), Nothing()).json()
    return {"autounattend.xml": answers, "golden/bootstrap.json": plan}


@given(st.text(max_size=40), st.sampled_from(SUFFIXES))
def test_a_password_survives_its_encoding(password: str, suffix: str) -> None:
    try:
        password.encode("utf-16-le")
    except UnicodeEncodeError:
        return
    assert decode(encode(password, suffix), suffix) == password


def test_the_encoding_is_that_of_windows() -> None:
    assert encode("pw", "Password") == "cAB3AFAAYQBzAHMAdwBvAHIAZAA="
    assert decode("cAB3AFAAYQBzAHMAdwBvAHIAZAA", "Password") == "pw", "padding may be missing"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no base 64!", "Base64"),
        (base64.b64encode(b"odd").decode(), "UTF-16LE"),
        (base64.b64encode("pw".encode("utf-16-le")).decode(), 'end with "Password"'),
    ],
)
def test_a_wrong_encoding_says_what_is_wrong(value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode(value, "Password")


def test_generated_passwords_are_long_complex_and_different() -> None:
    made = [Credentials.generate(KEY).password for _ in range(50)]
    assert len(set(made)) == 50
    for password in made:
        assert len(password) >= 24
        for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_."):
            assert set(password) & set(kind), password


def test_a_password_is_not_shown_by_repr() -> None:
    assert CANARY.password not in repr(CANARY)


@pytest.mark.parametrize("password", ["short", "has spaces in it all over", 'quote"quote"quote'])
def test_passwords_that_would_need_escaping_are_refused(password: str) -> None:
    with pytest.raises(ValueError, match="password"):
        Credentials(password, KEY)


@pytest.mark.parametrize("key", ["", "ssh-ed25519", f"{KEY}\n{KEY}", 'ssh-rsa AAAA "x"', "a b c d"])
def test_a_key_is_one_plain_line(key: str) -> None:
    with pytest.raises(ValueError, match="public key"):
        Credentials("Canary-9.of_the_build", key)


@pytest.mark.parametrize("release", list(Release))
def test_the_real_password_stands_in_its_encoded_forms_and_nowhere_else(release: Release) -> None:
    files = substitute(disc_files(release), CANARY)
    answers, plan = files["autounattend.xml"].decode(), files["golden/bootstrap.json"].decode()
    user = encode(CANARY.password, "Password")
    administrator = encode(CANARY.password, "AdministratorPassword")
    server = release not in (Release.WINDOWS_10, Release.WINDOWS_11)
    assert answers.count(user) == 2, "the account and its one automatic logon"
    assert answers.count(administrator) == int(server)
    rest = answers.replace(administrator, "").replace(user, "") + plan
    assert not any(trace in rest.encode() for trace in traces(CANARY.password))
    assert (answers + plan).count(KEY) == plan.count(KEY) == 1


def test_substituted_files_are_still_valid() -> None:
    files = substitute(disc_files(), CANARY)
    assert validate(files["autounattend.xml"], "autounattend.xml") == []
    steps = {step["id"]: step for step in json.loads(files["golden/bootstrap.json"])["steps"]}
    assert steps["authorized-keys"]["content"] == f"{KEY}\n"


def test_what_is_kept_holds_no_secret_and_sealing_gets_none() -> None:
    placeholder = Credentials.placeholder()
    sealing = samples.answers()["unattend-oobe.xml"].encode()
    assert not any(trace in sealing for trace in traces(placeholder.password))
    assert b"AutoLogon" not in sealing
    assert b"Password" not in sealing


@pytest.mark.parametrize("missing", ["autounattend.xml", "golden/bootstrap.json"])
def test_a_placeholder_that_no_file_has_is_an_error(missing: str) -> None:
    files = {name: data for name, data in disc_files().items() if name != missing}
    with pytest.raises(PipelineError, match="no file among"):
        substitute(files, CANARY)


@pytest.mark.parametrize("offset", [0, 1, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_placeholder_left_in_another_form_is_an_error(offset: int, encoding: str) -> None:
    hidden = ("x" * offset + Credentials.placeholder().password + "y").encode(encoding)
    files = disc_files() | {"golden/agent.ps1": b"$secret = '" + base64.b64encode(hidden) + b"'"}
    with pytest.raises(PipelineError, match="placeholder"):
        substitute(files, CANARY)


def test_a_plain_placeholder_is_an_error_too() -> None:
    files = disc_files() | {"x": Credentials.placeholder().password.encode()}
    with pytest.raises(PipelineError, match="x: a placeholder"):
        substitute(files, CANARY)


@given(
    st.text(string.ascii_letters + string.digits, min_size=14, max_size=40), st.binary(max_size=9)
)
def test_every_base64_of_a_password_shows_a_trace(password: str, before: bytes) -> None:
    data = base64.b64encode(before + password.encode() + b"zz")
    assert any(trace in data for trace in traces(password))
