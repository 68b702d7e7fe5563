"""JSON Schemas of the definition files, for editors; made from the model, never by hand.

Goes in: the dataclasses of ``model`` with their docstrings, types and rules. Comes out:
``schemas/*.schema.json``. ``python -m pipeline.definitions.schema --write`` refreshes them; without
``--write`` it says which are stale.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
import textwrap
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.definitions.check_pins import SOURCES
from pipeline.definitions.check_steps import FORMS, PAYLOAD
from pipeline.definitions.identity import identity
from pipeline.definitions.model import Image, Pin, Settings, Step
from pipeline.definitions.rules import PIN_NAME, Rule
from pipeline.definitions.shapes import ABSENT, Field, Shape, fields_of
from pipeline.foundation.files import write_bytes
from pipeline.foundation.paths import ROOT
from pipeline.foundation.units import Sha256, Size

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
# A field of bare text takes what YAML would read as a number or a truth value: the loader keeps
# the text as it stands, so an editor must not complain about `version: 1.10`.
_SCALARS: dict[Any, Schema] = {
    str: {"type": ["string", "number", "boolean"]},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    Size: {"type": "string", "pattern": "^[1-9][0-9]*[KMGT]$"},
    Sha256: {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
}


def schemas() -> dict[str, Schema]:
    """The schemas by file name."""
    pins = _document(Pin, "Pins of a Golden Windows build", named=True)
    entry = {key: pins.pop(key) for key in ("type", "properties", "required", "oneOf", "allOf")}
    pins |= {
        "type": "object",
        "propertyNames": PIN_NAME.keywords(),
        "additionalProperties": entry | {"additionalProperties": False},
    }
    return {
        "checksums.schema.json": pins,
        "image.schema.json": _document(Image, "A Golden Windows image", named=True),
        "settings.schema.json": _document(Settings, "Settings of a Golden Windows build host"),
    }


def _document(model: type, title: str, named: bool = False) -> Schema:
    definitions: dict[str, Schema] = {}
    body = _object(model, definitions, leave_out={"name"} if named else set())
    return {"$schema": DRAFT, "title": title, **body, "$defs": dict(sorted(definitions.items()))}


def _object(model: type, definitions: dict[str, Schema], leave_out: set[str]) -> Schema:
    fields = {name: item for name, item in fields_of(model).items() if name not in leave_out}
    notes = docstrings(model)
    schema: Schema = {
        "description": inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0],
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _property(item, notes.get(name, ""), definitions) for name, item in fields.items()
        },
        "required": [name for name, item in fields.items() if item.required],
    }
    return schema | _EXTRA.get(model, {})


def docstrings(model: type) -> dict[str, str]:
    """The text below each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(note.value.value)
        for field, note in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(note, ast.Expr)
        and isinstance(note.value, ast.Constant)
        and isinstance(note.value.value, str)
    }


def _property(item: Field, note: str, definitions: dict[str, Schema]) -> Schema:
    schema = _shape(item.shape, definitions)
    if note:
        schema["description"] = note
    plain = not (item.default is ABSENT or item.default is None)
    if plain and not dataclasses.is_dataclass(item.default):
        is_size = isinstance(item.default, Size)
        schema["default"] = str(item.default) if is_size else identity(item.default)
    return schema


def _shape(shape: Shape, definitions: dict[str, Schema]) -> Schema:
    schema = _bare(shape, definitions)
    for rule in shape.rules:
        schema |= rule.keywords()
        if shape.base is str:
            schema["type"] = _types(rule)
    if shape.optional and "type" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def _types(rule: Rule) -> list[str] | str:
    """The JSON types whose text the rule allows; ``keywords`` then judge strings alone."""
    samples = {"number": "1.5", "integer": "1", "boolean": "true"}
    fitting = [name for name, text in samples.items() if rule.allows(text)]
    if "number" in fitting:
        fitting.remove("integer")
    return ["string", *fitting] if fitting else "string"


def _bare(shape: Shape, definitions: dict[str, Schema]) -> Schema:
    if shape.item is not None:
        item = _shape(shape.item, definitions)
        if shape.base is tuple:
            return {"type": "array", "items": item}
        return {"type": "object", "additionalProperties": item}
    if dataclasses.is_dataclass(shape.base):
        model: Any = shape.base
        if model.__name__ not in definitions:
            definitions[model.__name__] = {}  # keeps the place while its own fields are read
            definitions[model.__name__] = _object(model, definitions, set())
        return {"$ref": f"#/$defs/{model.__name__}"}
    if issubclass(shape.base, StrEnum):
        return {"type": "string", "enum": [member.value for member in shape.base]}
    return dict(_SCALARS[shape.base])


def _pin_rules() -> Schema:
    return {
        "oneOf": [{"required": [source]} for source in SOURCES],
        "allOf": [
            {"if": {"required": ["made"]}, "then": _without(["sha256", "size"])},
            {"if": {"not": {"required": ["made"]}}, "then": {"required": ["sha256"]}},
        ],
    }


def _without(keys: list[str]) -> Schema:
    return {"properties": dict.fromkeys(keys, False)}


def _step_rules() -> Schema:
    every = list(fields_of(Step))
    return {"allOf": [_form(kind, every) for kind in FORMS]}


def _form(kind: str, every: list[str]) -> Schema:
    form = FORMS[kind]
    then: Schema = _without([key for key in every if key not in form.allowed])
    then["required"] = list(form.required)
    if form.payload:
        sources = [*PAYLOAD, *(["content"] if kind == "file" else [])]
        choices: list[Schema] = [{"required": [source]} for source in sources]
        if kind == "file":
            absent = {"ensure": {"const": "absent"}}
            choices.append({"required": ["ensure"], "properties": absent})
        then["oneOf"] = choices
    return {
        "if": {"required": ["kind"], "properties": {"kind": {"const": kind}}},
        "then": then,
    }


_EXTRA: dict[type, Schema] = {Pin: _pin_rules(), Step: _step_rules()}


def texts() -> dict[str, bytes]:
    """The files' contents by name."""
    return {
        name: (json.dumps(schema, indent=2, ensure_ascii=False) + "\n").encode()
        for name, schema in schemas().items()
    }


def stale(folder: Path) -> list[str]:
    """The names of the files in ``folder`` that are not what the model says."""
    return [
        name
        for name, data in texts().items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != data
    ]


def main(arguments: list[str]) -> int:
    """Write the schemas, or say which are stale (exit code 1)."""
    folder = ROOT / "schemas"
    old = stale(folder)
    if "--write" in arguments:
        for name in old:
            write_bytes(folder / name, texts()[name])
        return 0
    for name in old:
        print(f"schemas/{name} is stale; run: python -m pipeline.definitions.schema --write")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
