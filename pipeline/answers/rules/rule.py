"""What a rule is, and the list of all that were written.

A rule is a function from a document to problems; :func:`rule` gives it an id and the fact it rests
on, and puts it on the list. ``validate`` imports the modules of rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.answers.document import Document, Element, line
from pipeline.answers.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Problem:
    """An element that breaks a rule."""

    element: Element
    message: str
    fix: str = ""
    severity: Severity = Severity.ERROR


Check = Callable[[Document], Iterable[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A check with its id and the fact it rests on; ``fix`` helps where a problem brings none."""

    id: str
    fact: str
    check: Check
    fix: str = ""

    def findings(self, document: Document) -> Iterator[Finding]:
        """The check's problems as findings."""
        for problem in self.check(document):
            element = problem.element
            place = document.place(element)
            fix = problem.fix or self.fix
            yield Finding(line(element), problem.severity, place, self.id, problem.message, fix)


RULES: list[Rule] = []


def rule(name: str, fact: str, fix: str = "") -> Callable[[Check], Check]:
    """Put the decorated check on the list of rules."""

    def add(check: Check) -> Check:
        RULES.append(Rule(name, fact, check, fix))
        return check

    return add
