"""For all tests: properties hold however slow the host is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("golden", deadline=None)
settings.load_profile("golden")
