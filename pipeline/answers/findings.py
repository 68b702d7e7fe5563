"""What a check of a file finds: where, how bad, what is wrong and what to write instead."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error makes Setup or the guest fail; a warning says what is unknown or unwise."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; ``rule`` names the rule that made it, ``path`` the place inside the file."""

    line: int
    severity: Severity
    path: str
    rule: str
    message: str
    fix: str = ""

    def text(self, file: str) -> str:
        """``file:line: severity: path: message (fix)``, on one line."""
        where = f"{self.path}: " if self.path else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{file}:{self.line}: {self.severity}: {where}{self.message}{fix} [{self.rule}]"

    def as_json(self, file: str) -> dict[str, object]:
        """The same for programs."""
        return {"file": file, **asdict(self)}


def in_order(findings: list[Finding]) -> list[Finding]:
    """The findings as one reads a file: by line, errors first; each once."""
    return sorted(set(findings), key=lambda f: (f.line, f.severity, f.path, f.rule, f.message))
