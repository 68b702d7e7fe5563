"""When the evaluation in a version ends, and what to tell about it."""

from __future__ import annotations

import datetime

WARN_DAYS = 14


def ending(version: str, expires_at: str | None, warn_days: int = WARN_DAYS) -> str:
    """A warning that the evaluation has ended, or ends within ``warn_days``; else nothing."""
    if expires_at is None:
        return ""
    left = datetime.datetime.fromisoformat(expires_at) - datetime.datetime.now(datetime.UTC)
    if left.total_seconds() < 0:
        return f"warning: the evaluation in {version} ended on {expires_at}"
    if left.days < warn_days:
        return f"warning: the evaluation in {version} ends in {left.days} days, on {expires_at}"
    return ""
