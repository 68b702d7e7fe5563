"""media: hold the Windows medium against its pin, and resolve the edition before anything boots.

In: the verified ISO and what its pin says it holds. Out: ``medium.json``. Reads a WIM header and
its XML in place: milliseconds, whatever the ISO's size.
"""

from __future__ import annotations

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_json
from pipeline.foundation.paths import shown
from pipeline.inputs.media import as_json, check_against, find_edition, read_medium
from pipeline.stages import artifacts
from pipeline.stages.build import Made, Work


def make(work: Work) -> Made:
    """Read the medium; raises when it is not what the pin says or lacks the edition."""
    build = work.build
    pin = build.medium
    medium = read_medium(artifacts.require(pin, build.workspace), pin.name)
    find_edition(medium, build.image.edition)
    if wrong := check_against(medium, build.facts):
        listed = "\n".join(f"    {line}" for line in wrong)
        raise PipelineError(
            f"{pin.name} is not what its pin says:\n{listed}",
            hint=f"correct `media:` of {pin.name} in {shown(build.workspace.checksums)}",
        )
    write_json(work.folder / "medium.json", as_json(medium))
    return Made(("medium.json",))
