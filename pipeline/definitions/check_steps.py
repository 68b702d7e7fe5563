"""Provisioning steps of one's own: which keys belong to which kind, and the files they name.

Goes in: the section of an image. Comes out: entries in the list of problems. ``FORMS`` is the one
table of keys by kind; the JSON Schema is made from it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.definitions.model import Interpreter
from pipeline.definitions.nodes import Section
from pipeline.definitions.problems import Problems, quoted
from pipeline.foundation.files import sha256_file

PAYLOAD = ("file", "pin")
LIMITS = {"DWord": 1 << 32, "QWord": 1 << 64}

PinOf = Callable[[Section], Section | None]


@dataclass(frozen=True, slots=True)
class Form:
    """The keys of one kind of step, besides ``id`` and ``kind``; ``payload`` is file or pin."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    payload: bool = False

    @property
    def allowed(self) -> set[str]:
        """Every key that a step of this kind may have."""
        payload = ("file", "pin", "sha256") if self.payload else ()
        return {"id", "kind", *self.required, *self.optional, *payload}


FORMS = {
    "msi": Form(optional=("properties",), payload=True),
    "file": Form(required=("path",), optional=("content", "ensure"), payload=True),
    "registry": Form(required=("key", "name"), optional=("type", "value", "values", "ensure")),
    "script": Form(optional=("arguments", "interpreter", "files"), payload=True),
    "update": Form(required=("kb",), payload=True),
    "reboot": Form(optional=("when",)),
    "service": Form(
        required=("name",), optional=("start", "state", "binary", "display_name", "depend")
    ),
}


def check_steps(image: Section, root: Path, problems: Problems, pin_of: PinOf) -> None:
    """Report what is wrong with an image's own steps."""
    seen: set[str] = set()
    for step in image.get("provision") or ():
        identity = step.get("id")
        if identity in seen:
            problems.add(
                step.at("id"), step.named("id"), f"two steps are called {quoted(identity)}"
            )
        if identity is not None:
            seen.add(identity)
        _check(step, root, problems, pin_of)
        if step.get("interpreter") == Interpreter.STAND_IN and image.get("rehearsal") is False:
            text = "stand-in scripts run in the rehearsal only"
            problems.add(step.at("interpreter"), step.named("interpreter"), text)


def _check(step: Section, root: Path, problems: Problems, pin_of: PinOf) -> None:
    kind = step.get("kind")
    form = FORMS.get(kind) if kind else None
    if kind is None or form is None:
        return
    for key in step.keys:
        if key not in form.allowed:
            text = f'not a key of kind "{kind}"; it has {", ".join(sorted(form.allowed))}'
            problems.add(step.keys[key], step.named(key), text)
    for key in form.required:
        if not step.given(key):
            problems.add(step.place, step.named(key), f'missing; kind "{kind}" needs it')
    if form.payload:
        _payload(step, kind, problems)
        pin_of(step)
    if kind == "registry":
        _registry(step, problems)
    if kind == "service":
        _service(step, problems)
    _files(step, root, problems)


def _payload(step: Section, kind: str, problems: Problems) -> None:
    sources = PAYLOAD + (("content",) if kind == "file" else ())
    given = [key for key in sources if step.given(key)]
    absent = kind == "file" and step.get("ensure") == "absent"
    if absent and given:
        problems.add(step.at(given[0]), step.named(given[0]), "leave it out with ensure: absent")
    elif not absent and len(given) != 1:
        seen = " and ".join(given) or "none of them"
        expected = f"{', '.join(sources[:-1])} and {sources[-1]}"
        problems.add(step.place, step.path, f"expected exactly one of {expected}, found {seen}")
    if step.given("sha256") and not step.given("file"):
        text = "only with file; a pin has a digest of its own"
        problems.add(step.at("sha256"), step.named("sha256"), text)


def _registry(step: Section, problems: Problems) -> None:
    given = [key for key in ("value", "values") if step.given(key)]
    if step.get("ensure") == "absent":
        for key in given:
            problems.add(step.at(key), step.named(key), "leave it out with ensure: absent")
        return
    many = step.get("type") == "MultiString"
    wanted, other = ("values", "value") if many else ("value", "values")
    if other in given:
        text = f"expected {wanted}{' for a MultiString' if many else ''}, found {other}"
        problems.add(step.keys[other], step.named(other), text)
    elif wanted not in given:
        problems.add(step.place, step.named(wanted), "missing; expected the data of the value")
    limit, value = LIMITS.get(step.get("type")), step.get("value")
    if limit and value is not None and not _is_number(value, limit):
        text = f"expected a whole number from 0 to {limit - 1}, found {quoted(value)}"
        problems.add(step.at("value"), step.named("value"), text)


def _is_number(text: str, limit: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < limit


def _service(step: Section, problems: Problems) -> None:
    for key in ("display_name", "depend"):
        if step.given(key) and not step.given("binary"):
            text = "only with binary, which creates the service"
            problems.add(step.keys[key], step.named(key), text)


def _files(step: Section, root: Path, problems: Problems) -> None:
    extra = [(f"files[{index}]", name) for index, name in enumerate(step.get("files") or ())]
    for key, name in [("file", step.get("file")), *extra]:
        if name is None:
            continue
        path, text = below(root, name)
        if path is None:
            problems.add(step.at(key), step.named(key), text)
        elif key == "file":
            _digest(step, path, problems)
    _names(step, extra, problems)


def _names(step: Section, extra: Iterable[tuple[str, str]], problems: Problems) -> None:
    taken = {Path(step.get("file") or "").name.lower()}
    for key, name in extra:
        if Path(name).name.lower() in taken:
            text = f"another file of this step is called {quoted(Path(name).name)} too"
            problems.add(step.at(key), step.named(key), text)
        taken.add(Path(name).name.lower())


def below(root: Path, name: str) -> tuple[Path | None, str]:
    """The file ``name`` below ``root``, or what is wrong with it."""
    expected = "expected a file below the repository root"
    try:
        path = (root / name).resolve()
        if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
            return None, f"{expected}, found {quoted(name)}"
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            return None, f"{expected}, found {what}: {quoted(name)}"
    except OSError as error:
        return None, f"{expected}, found {quoted(name)}: {error.strerror}"
    return path, ""


def _digest(step: Section, path: Path, problems: Problems) -> None:
    wanted = step.get("sha256")
    if wanted is None:
        return
    actual = sha256_file(path)
    if actual != wanted:
        text = (
            f"expected {wanted}, found {actual} in {step.get('file')}; "
            "if the file was meant to change, write the second digest here"
        )
        problems.add(step.at("sha256"), step.named("sha256"), text)
