"""What a fault of the suite is, and what is seen when it is played."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.room import Room

IMAGE, TPM_IMAGE = "rehearsal", "rehearsal-tpm"
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run showed: the sentence, and the seconds from the fault to it."""

    sentence: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A fault: ``play`` brings it about while ``stage`` runs and says what was seen.

    ``says`` must be found in what the user reads. ``killed``: what is ended without a word may
    leave its work folder and its runtime folder, which the next run has to clear away.
    ``succeeds``: the run is expected to get over it by itself. ``patience`` is the user's
    GOLDEN_PATIENCE; ``needs`` says what is missing to try it here.
    """

    name: str
    stage: str
    what: str
    says: str
    play: Callable[[Room], Seen]
    image: str = IMAGE
    patience: str = ""
    killed: bool = False
    succeeds: bool = False
    needs: Callable[[], str] = lambda: ""

    @property
    def key(self) -> str:
        """``name@stage``: a signal comes at every stage."""
        return f"{self.name}@{self.stage}"


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    stage: str
    what: str
    sentence: str = ""
    seconds: float | None = None
    left: list[str] = field(default_factory=list)
    again: str = ""
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""

    @classmethod
    def of(cls, case: Case) -> Row:
        """A line about nothing seen yet."""
        return cls(case.name, case.stage, case.what)

    @property
    def key(self) -> str:
        """See :class:`Case`."""
        return f"{self.name}@{self.stage}"

    @property
    def good(self) -> bool:
        """Whether everything was as it should be, or was not tried."""
        return not self.wrong

    def json(self) -> dict[str, Any]:
        """For the file of results."""
        return asdict(self)

    def judge(self, case: Case, seen: Seen) -> None:
        """Take what was seen; the sentence must say what it should."""
        self.sentence, self.seconds = seen.sentence, seen.seconds
        if not re.search(case.says, seen.sentence):
            self.wrong.append(f"the user reads {seen.sentence!r}, expected {case.says!r}")
        if "Traceback" in seen.sentence:
            self.wrong.append("the user reads a traceback")
