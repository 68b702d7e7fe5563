"""The chaos suite: named faults, done to real builds of the rehearsal.

``python -m tests.chaos`` plays them all and prints for each what the user reads, how long it took
to notice, what was left behind, and whether the next run succeeded; ``--write`` keeps that in
docs/failures.md. A fault is a :class:`tests.chaos.case.Case`.
"""
