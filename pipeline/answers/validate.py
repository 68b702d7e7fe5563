"""Answer files checked: well-formed, the envelope, then every rule.

In: bytes of an XML file. Out: findings with line, place, message and fix. Files are data from
anywhere: no entity is resolved, nothing is fetched, and the size is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

from pipeline.answers.document import UNATTEND, Document, Element, line, local
from pipeline.answers.findings import Finding, Severity, in_order
from pipeline.answers.rules import accounts, commands, disk, lists, settings, setup, values
from pipeline.answers.rules.rule import RULES
from pipeline.foundation.errors import PipelineError

LARGEST = 1 << 20
_WRITTEN = (settings, values, lists, disk, setup, accounts, commands)  # importing lists the rules

# The rules that come before all others, with their facts; the rest are in RULES.
FACTS = {
    "size": "an answer file is small; a large one is something else",
    "xml": "Setup reads well-formed XML only",
    "doctype": "Setup needs no document type, and entities could read files or exhaust memory",
    "root": "the root is <unattend>",
    "namespace": f"Setup reads elements of the namespace {UNATTEND} only",
    "envelope": "passes and components have the attributes that envelope.xsd describes",
}

# What libxml2 says of an envelope, in words that say what to do.
_ENVELOPE = (
    (
        r"The attribute '(\w+)' is required but missing",
        r"the attribute \1 is missing",
        r'add \1="…"',
    ),
    (
        r"attribute '(\w+)': \[facet 'enumeration'\] The value '(.*)' is not .*\{(.*)\}",
        r'\1="\2" is not known',
        r"one of: \3",
    ),
    (
        r"attribute '(\w+)': \[facet '\w+'\] The value '(.*)' .*",
        r'\1="\2" is not valid',
        r"correct \1",
    ),
    (
        r"attribute '(\w+)': The attribute '.*' is not allowed",
        r"\1 is no attribute here",
        r"remove \1",
    ),
    (r"Duplicate key-sequence \['(\w+)'\].*", r"the pass \1 is given twice", "put them into one"),
    (
        r"Element '(?:\{.*\})?(\w+)': This element is not expected",
        r"\1 does not belong here",
        r"move \1",
    ),
    (r"No matching global declaration available", "this is no answer file", "<unattend …>"),
)


def validate(xml: bytes, name: str) -> list[Finding]:
    """Everything that is wrong with the answer file ``name``; an empty list when nothing is."""
    if len(xml) > LARGEST:
        message = f"{name} has {len(xml)} bytes, an answer file at most {LARGEST}"
        return [_finding(1, "size", message, "leave out what is no setting")]
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        message = f"not well-formed: {error.msg}"
        return [_finding(error.lineno or 1, "xml", message, "correct the XML")]
    if problem := _unusable(root):
        return [problem]
    document = Document(root)
    found = [*_envelope(root), *_foreign(document)]
    found += [finding for rule in RULES for finding in rule.findings(document)]
    return in_order(found)


def require_valid(xml: bytes, name: str) -> None:
    """Raise :class:`PipelineError` with every finding unless the answer file is flawless."""
    if found := validate(xml, name):
        lines = "\n".join(f"  {finding.text(name)}" for finding in found)
        raise PipelineError(f"{name} is not a valid answer file:\n{lines}")


def _finding(at_line: int, rule: str, message: str, fix: str = "", path: str = "") -> Finding:
    return Finding(at_line, Severity.ERROR, path, rule, message, fix)


def _unusable(root: Element) -> Finding | None:
    """What makes it pointless to look further: a document type, or something else altogether."""
    if root.getroottree().docinfo.internalDTD is not None:
        return _finding(1, "doctype", "an answer file has no document type", "remove <!DOCTYPE …>")
    if root.tag == f"{{{UNATTEND}}}unattend":
        return None
    if local(root) == "unattend":
        space = etree.QName(root).namespace or "none"
        fix = f'xmlns="{UNATTEND}"'
        return _finding(line(root), "namespace", f"the namespace is {space}: Setup ignores it", fix)
    return _finding(line(root), "root", f"<{local(root)}> is no answer file", "<unattend …>")


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(Path(__file__).with_name("envelope.xsd")))


def _envelope(root: Element) -> Iterator[Finding]:
    schema = _schema()
    schema.validate(root.getroottree())
    log: Any = schema.error_log  # the stubs do not know that one can loop over it
    for error in log:
        if "No precomputed value" in error.message:
            continue  # libxml2 about itself, beside the error that it has just told
        message, fix = _plain(error.message)
        yield _finding(error.line, "envelope", message, fix)


def _plain(message: str) -> tuple[str, str]:
    for pattern, says, fix in _ENVELOPE:
        if match := re.search(pattern, message):
            return match.expand(says), match.expand(fix).replace("'", "")
    return message.replace(f"{{{UNATTEND}}}", ""), "correct it"


def _foreign(document: Document) -> Iterator[Finding]:
    """Elements of another namespace inside components: Setup does not see them."""
    for component in document.components:
        for _, element in component.settings():
            if etree.QName(element).namespace != UNATTEND:
                where = document.place(element)
                message = f"{local(element)} is in a namespace of its own: Setup ignores it"
                yield _finding(line(element), "namespace", message, "remove its xmlns", where)
                break
