"""Seeded defects: each kind of mistake put into a correct answer file, and whether lint finds it.

``python -m tests.unit.answers.mutations`` prints kinds, caught, missed and false alarms as a table.
"""

from __future__ import annotations

from pipeline.answers.validate import validate
from tests.unit.answers import (
    mutations_disk,
    mutations_file,
    mutations_logon,
    mutations_values,
    samples,
)

MUTATIONS = (
    *mutations_file.MUTATIONS,
    *mutations_values.MUTATIONS,
    *mutations_disk.MUTATIONS,
    *mutations_logon.MUTATIONS,
)


def false_alarms() -> list[str]:
    """Findings on files that are right."""
    return [
        finding.text(name)
        for name, data in samples.correct().items()
        for finding in validate(data, name)
    ]


def main() -> None:
    """Print the table."""
    width = max(len(mutation.kind) for mutation in MUTATIONS)
    missed = 0
    for mutation in MUTATIONS:
        caught = mutation.caught()
        missed += not caught
        print(f"{mutation.kind:{width}}  {mutation.rule:22}  {'caught' if caught else 'MISSED'}")
    alarms = false_alarms()
    print("\n".join(alarms))
    kinds = len(MUTATIONS)
    print(f"kinds {kinds}, caught {kinds - missed}, missed {missed};", end=" ")
    print(f"correct files {len(samples.correct())}, false alarms {len(alarms)}")


if __name__ == "__main__":
    main()
