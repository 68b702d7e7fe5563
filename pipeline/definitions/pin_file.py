"""Writing pins: a value changes, and nothing else of the file does.

Goes in: a folder of ``checksums/*.yaml``, a pin's name, new values. Comes out: the file with those
values in their places; order, comments, quotes and blank lines stay. Nothing here decides what a
pin should say, with one exception: a digest is not replaced under the same version unless the
caller says that somebody looked.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_bytes

# Keys in the order of a pin; a new one is put before the first of those that follow it.
ORDER = ("version", "kind", "urls", "sha256", "size", "etag", "upstream", "media", "warning")


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def file_of(folder: Path, pin: str) -> Path:
    """The file that holds the pin."""
    for path in sorted(folder.glob("*.yaml")):
        if pin in (_yaml().load(path.read_bytes()) or {}):
            return path
    raise PipelineError(f"no file in {folder} holds the pin {pin!r}")


def rewrite(
    path: Path, pin: str, values: Mapping[str, Any], *, accept_changed: bool, release: str = ""
) -> bytes:
    """Set ``values`` of the pin and write the file; returns what was there before.

    ``urls`` is a list, ``media`` a mapping with ``editions``; other values are text or numbers.
    ``release`` is what the publisher calls the new version.
    """
    before = path.read_bytes()
    after = edited(before, pin, values, accept_changed=accept_changed, release=release)
    write_bytes(path, after)
    return before


def edited(
    data: bytes,
    pin: str,
    values: Mapping[str, Any],
    *,
    accept_changed: bool = False,
    release: str = "",
) -> bytes:
    """The file with ``values`` of the pin set."""
    yaml = _yaml()
    document = yaml.load(data)
    body = document[pin]
    _refuse_silent_change(pin, body, values, accept_changed)
    if release:
        _rename_remark(body, release)
    for key, value in values.items():
        _set(body, key, value)
    out = io.BytesIO()
    yaml.dump(document, out)
    return out.getvalue()


def _rename_remark(body: CommentedMap, release: str) -> None:
    """Bring a remark ``# released as …`` beside the version up to date."""
    remark = body.ca.items.get("version", [None, None, None])[2]
    if remark is not None and remark.value.startswith("# released as "):
        _, line_end, rest = remark.value.partition("\n")
        remark.value = f"# released as {release}{line_end}{rest}"


def _refuse_silent_change(
    pin: str, body: CommentedMap, values: Mapping[str, Any], ok: bool
) -> None:
    same_version = str(values.get("version", body["version"])) == str(body["version"])
    digest = str(values.get("sha256", body.get("sha256")))
    if same_version and digest != str(body.get("sha256")) and not ok:
        raise PipelineError(
            f"{pin}: the digest of version {body['version']} is not replaced: it is another file "
            f"under the same name",
            hint="see what changed; then run: golden refresh --write --accept-changed-upstream",
        )


def _set(body: CommentedMap, key: str, value: Any) -> None:
    if key == "urls":
        _replace_all(body["urls"], [str(url) for url in value])
    elif key == "media":
        _set_media(body, value)
    elif key in body:
        _shift_remark(body, key, len(str(value)) - len(str(body[key])))
        body[key] = _scalar(value)
    else:
        later = [index for index, name in enumerate(body) if name in ORDER[ORDER.index(key) :]]
        body.insert(later[0] if later else len(body), key, _scalar(value))


def _shift_remark(body: CommentedMap, key: str, by: int) -> None:
    """Keep the distance between a value and the remark beside it."""
    remark = body.ca.items.get(key, [None, None, None])[2]
    if remark is not None and remark.value.startswith("#"):
        remark.start_mark.column += by


def _scalar(value: Any) -> Any:
    """Text in quotes: a version is not a number, and an all-digit digest neither."""
    if isinstance(value, int):
        return value
    text = str(value)
    return SingleQuotedScalarString(text) if '"' in text else DoubleQuotedScalarString(text)


def _replace_all(sequence: CommentedSeq, values: list[Any]) -> None:
    """New items in the old ones' places, so that what follows the list stays where it is."""
    for index, value in enumerate(values[: len(sequence)]):
        sequence[index] = value
    del sequence[len(values) :]
    sequence.extend(values[len(sequence) :])


def _set_media(body: CommentedMap, media: Mapping[str, Any]) -> None:
    for key, value in media.items():
        if key == "editions":
            _set_editions(body["media"]["editions"], value)
        elif str(body["media"].get(key)) != str(value):
            quoted = key == "build"
            body["media"][key] = _scalar(value) if quoted else value


def _set_editions(old: CommentedSeq, editions: list[Mapping[str, Any]]) -> None:
    new = [(edition["index"], edition["name"]) for edition in editions]
    if new != [(edition["index"], edition["name"]) for edition in old]:
        _replace_all(old, [_edition(index, name) for index, name in new])


def _edition(index: int, name: str) -> CommentedMap:
    made = CommentedMap({"index": index, "name": DoubleQuotedScalarString(name)})
    made.fa.set_flow_style()
    return made
