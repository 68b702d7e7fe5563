"""The stages of an image, in the order of the graph.

media ──► render ──► cidata ──► install ──► provision ──► check
                                                └──► seal ──► prove ──► publish
"""

from __future__ import annotations

from pipeline.stages import (
    check,
    cidata,
    install,
    media,
    prove,
    provision,
    publish,
    render,
    seal,
)
from pipeline.stages.build import Stage

STAGES: tuple[Stage, ...] = (
    media.STAGE,
    render.STAGE,
    cidata.STAGE,
    install.STAGE,
    provision.STAGE,
    check.STAGE,
    seal.STAGE,
    prove.STAGE,
    publish.STAGE,
)
