"""Signatures: what is accepted, and which of three errors tells what is wrong."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from pipeline.definitions.model import Settings
from pipeline.foundation.errors import PipelineError, WrongUse
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import run
from pipeline.publishing import signature
from pipeline.publishing.signature import NotSigned, SignatureWrong, SignedByAnother


def workspace(folder: Path) -> Workspace:
    return Workspace(folder, folder / "output", folder / "cache")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a blank in its name, keys, and a signed file."""
    folder = tmp_path_factory.mktemp("a place")
    for name in ("ours", "theirs"):
        own = workspace(folder / name)
        key = signature.ensure_key(own, Settings())
        line = signature.allowed_signers_line(signature.public_key(key))
        signature.allow(folder / f"{name}.allowed", line)
    sums = folder / "SHA256SUMS"
    sums.write_text("0  disk.qcow2\n")
    signature.sign(sums, folder / "ours/output/keys" / signature.KEY)
    return folder


@pytest.fixture
def sums(place: Path, tmp_path: Path) -> Path:
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        shutil.copyfile(place / name, tmp_path / name)
    return tmp_path / "SHA256SUMS"


def sig(file: Path) -> Path:
    return file.with_name(file.name + ".sig")


def test_the_signer_of_a_good_signature_is_told(place: Path, sums: Path) -> None:
    key = place / "ours/output/keys" / signature.KEY
    expected = signature.fingerprint(signature.public_key(key))
    assert signature.signer(sums, sig(sums)) == expected
    assert signature.verify(sums, sig(sums), place / "ours.allowed") == expected
    assert expected.startswith("SHA256:")


def test_no_other_tool_is_needed(place: Path, sums: Path) -> None:
    """What docs/consuming.md tells people to type."""
    script = (
        'ssh-keygen -Y verify -f "$1" -I golden-windows -n version@golden-windows '
        '-s "$2.sig" < "$2"'
    )
    said = run(["sh", "-c", script, "-", place / "ours.allowed", sums], deadline=30)
    assert said.output.startswith('Good "version@golden-windows" signature for golden-windows')


def test_a_changed_file_is_told(place: Path, sums: Path) -> None:
    sums.write_text("1  disk.qcow2\n")
    with pytest.raises(SignatureWrong, match="no signature over this SHA256SUMS"):
        signature.verify(sums, sig(sums), place / "ours.allowed")


def test_a_file_that_is_no_signature_is_told(place: Path, sums: Path) -> None:
    sig(sums).write_text("<html>404</html>")
    with pytest.raises(SignatureWrong):
        signature.verify(sums, sig(sums), place / "ours.allowed")


def test_a_missing_signature_is_told(place: Path, sums: Path) -> None:
    sig(sums).unlink()
    with pytest.raises(NotSigned):
        signature.verify(sums, sig(sums), place / "ours.allowed")


def test_a_signature_by_another_key_names_that_key(place: Path, sums: Path) -> None:
    with pytest.raises(SignedByAnother) as caught:
        signature.verify(sums, sig(sums), place / "theirs.allowed")
    assert caught.value.fingerprint == signature.signer(sums, sig(sums))
    assert caught.value.fingerprint in str(caught.value)


def test_another_principal_is_another(place: Path, sums: Path) -> None:
    with pytest.raises(SignedByAnother):
        signature.verify(sums, sig(sums), place / "ours.allowed", "somebody-else")


def test_a_signature_for_another_purpose_does_not_count(place: Path, sums: Path) -> None:
    key = place / "ours/output/keys" / signature.KEY
    sig(sums).unlink()
    run(["ssh-keygen", "-Y", "sign", "-f", key, "-n", "git", sums], deadline=30)
    with pytest.raises(SignatureWrong):
        signature.verify(sums, sig(sums), place / "ours.allowed")


def test_the_three_errors_have_exit_codes_of_their_own() -> None:
    codes = {NotSigned.exit_code, SignatureWrong.exit_code, SignedByAnother.exit_code}
    assert len(codes) == 3
    assert not codes & {0, 1, 2, 3, 130}


def _ensure(folder: Path, queue: multiprocessing.Queue[str]) -> None:
    queue.put(signature.ensure_key(workspace(folder), Settings()).read_text())


def test_the_key_is_made_once_by_many_at_once(tmp_path: Path) -> None:
    queue: multiprocessing.Queue[str] = multiprocessing.Queue()
    makers = [multiprocessing.Process(target=_ensure, args=(tmp_path, queue)) for _ in range(4)]
    for maker in makers:
        maker.start()
    keys = {queue.get(timeout=30) for _ in makers}
    for maker in makers:
        maker.join(30)
    assert len(keys) == 1
    key = tmp_path / "output/keys" / signature.KEY
    assert key.stat().st_mode & 0o777 == 0o600
    public = key.with_suffix(".pub").read_text()
    assert public.startswith(signature.public_key(key))


def test_ones_own_key_is_used_as_it_is(tmp_path: Path) -> None:
    own = signature.ensure_key(workspace(tmp_path / "a"), Settings())
    settings = Settings(signing_key=str(own))
    assert signature.ensure_key(workspace(tmp_path / "b"), settings) == own
    assert not (tmp_path / "b").exists()
    with pytest.raises(PipelineError, match="there is no"):
        signature.ensure_key(workspace(tmp_path / "b"), Settings(signing_key="nothing here"))


def test_a_key_with_a_password_is_an_error_not_a_prompt(tmp_path: Path) -> None:
    key = tmp_path / "locked"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret!", "-f", key], deadline=30)
    file = tmp_path / "SHA256SUMS"
    file.write_text("x")
    with pytest.raises(PipelineError, match="without a password"):
        signature.sign(file, key)
    assert not sig(file).exists()


def test_a_new_key_joins_the_allowed_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    for line in ("one", "two", "one"):
        signature.allow(path, line)
    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize("text", ["", "nonsense", "a\nssh-ed25519 AAAA", '* cert-authority "x"'])
def test_a_line_is_made_of_public_keys_only(text: str) -> None:
    with pytest.raises(PipelineError, match="not a public key"):
        signature.allowed_signers_line(text)


# How people name a key


def test_a_key_is_named_by_a_file_whatever_it_is_called_or_by_its_fingerprint(
    place: Path, tmp_path: Path
) -> None:
    public = place / "ours/output/keys" / f"{signature.KEY}.pub"
    by = signature.fingerprint(" ".join(public.read_text().split()[:2]))
    other = tmp_path / "the publisher"
    other.write_text(f"# got by mail\n\n{public.read_text()}")
    for key in (str(public), str(other), by, f"{by}="):
        assert signature.named(key) == by


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (None, "there is no key file", "SHA256:…"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key", "key.pub"),
        ("ssh-ed25519 AAAA x", "is no public key", "ssh-ed25519 AAAA…"),
        ("\0\1\2", "is no public key", "ssh-ed25519 AAAA…"),
        ("", "is no public key", "ssh-ed25519 AAAA…"),
        ("ssh-ed25519 AAAA\nssh-ed25519 AAAA", "is no public key", "ssh-ed25519 AAAA…"),
        ('x namespaces="version@golden-windows" ssh-ed25519 AAAA', "allowed", "--allowed-signers"),
    ],
)
def test_what_is_no_key_is_one_sentence_with_what_to_do(
    tmp_path: Path, text: str | None, says: str, hint: str
) -> None:
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
    with pytest.raises(WrongUse, match=says) as said:
        signature.named(str(file))
    assert hint in said.value.hint
    assert "ssh-keygen" not in said.value.message


@pytest.mark.parametrize("text", ["SHA256:", "SHA256:short", "SHA256:" + "!" * 43])
def test_what_only_looks_like_a_fingerprint_is_told(text: str) -> None:
    with pytest.raises(WrongUse, match="is no fingerprint"):
        signature.named(text)
