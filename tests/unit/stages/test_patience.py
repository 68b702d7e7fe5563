"""How long a machine's phases may take, and the user's factor on it."""

from __future__ import annotations

import pytest

from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.stages.build import Build
from pipeline.stages.session import Patience

WORKSPACE = Workspace.default()
BUILD = Build.of("rehearsal", load(WORKSPACE), WORKSPACE)


@pytest.mark.parametrize(("given", "times"), [(None, 1), ("", 1), ("2", 2), ("0.5", 0.5)])
def test_the_users_factor_is_on_every_deadline(
    given: str | None, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOLDEN_PATIENCE", raising=False)
    usual = Patience.of(BUILD)
    if given is not None:
        monkeypatch.setenv("GOLDEN_PATIENCE", given)
    patience = Patience.of(BUILD)
    assert patience.idle == usual.idle * times
    assert patience.phase("boot", 15).deadline == usual.phase("boot", 15).deadline * times


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "long"])
def test_what_is_no_factor_is_refused_by_name(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDEN_PATIENCE", given)
    with pytest.raises(PipelineError, match="GOLDEN_PATIENCE is "):
        Patience.of(BUILD)
