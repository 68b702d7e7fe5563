"""The task graph: a row a kind of task. ``./doitw list`` shows it, ``./doitw build`` does the job.

    fetch:<artifact> ──► media ──┐
                         render ─┴► cidata ──► install ──► provision ──► check
                                                              │
                                             publish ◄── prove ◄── seal

Each stage of an image is a task ``<stage>:<image>``; its receipt under ``output/build/<image>/`` is
its target and the file that later stages depend on. What a stage does and what goes into it is in
``pipeline/stages/<stage>.py``; why one would run says ``golden plan``.
"""

from pipeline.stages.tasks import Graph, Tasks

GRAPH = Graph.load()

DOIT_CONFIG = {
    "backend": "sqlite3",
    "dep_file": GRAPH.database,
    "default_tasks": ["build"],
    "verbosity": 2,
}


def task_fetch() -> Tasks:
    """Download an artifact, or make it for the rehearsal, and verify it."""
    yield from GRAPH.fetch_tasks()


def task_licence() -> Tasks:
    """See that Microsoft's licence terms were accepted."""
    yield from GRAPH.licence_tasks()


def task_media() -> Tasks:
    """Hold the Windows medium against its pin and resolve the edition."""
    yield from GRAPH.stage_tasks("media")


def task_render() -> Tasks:
    """Render and validate answer files and guest plans."""
    yield from GRAPH.stage_tasks("render")


def task_cidata() -> Tasks:
    """Build the disc that answers Setup's questions."""
    yield from GRAPH.stage_tasks("cidata")


def task_install() -> Tasks:
    """Install Windows, headless, onto the base disk."""
    yield from GRAPH.stage_tasks("install")


def task_provision() -> Tasks:
    """Bring the guest into the declared state, on an overlay."""
    yield from GRAPH.stage_tasks("provision")


def task_check() -> Tasks:
    """Assert every declared state after a restart."""
    yield from GRAPH.stage_tasks("check")


def task_seal() -> Tasks:
    """Clean, remove every build credential, generalise."""
    yield from GRAPH.stage_tasks("seal")


def task_prove() -> Tasks:
    """Boot a clone as a consumer would, and run the checks there."""
    yield from GRAPH.stage_tasks("prove")


def task_publish() -> Tasks:
    """Compress, describe and publish a version."""
    yield from GRAPH.stage_tasks("publish")


def task_layer() -> Tasks:
    """Look for an installed or provisioned disk in the layers that hosts share."""
    yield from GRAPH.layer_tasks()


def task_build() -> Tasks:
    """Build the images that the settings name; build:NAME builds one."""
    yield from GRAPH.build_tasks()


def task_test() -> Tasks:
    """Run all tests; test-unit runs those that take seconds."""
    yield from GRAPH.test_tasks()


def task_chaos() -> Tasks:
    """Do every named fault to real builds of the rehearsal, and print what was seen."""
    yield from GRAPH.shown_task("chaos", "tests.chaos")


def task_stores() -> Tasks:
    """Bring the rehearsal to nginx and to a registry, pull it from both, and boot it."""
    yield from GRAPH.shown_task("stores", "tests.two_stores")
