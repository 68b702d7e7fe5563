"""Images checked as wholes and against the pins they name.

Goes in: the section of an image and what else was defined. Comes out: entries in the list of
problems; each says what was expected, what was found and, where a name is nearly right, which one
was probably meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.definitions.check_steps import check_steps
from pipeline.definitions.model import Firmware, FirstBoot, Kind, Release
from pipeline.definitions.nodes import Section
from pipeline.definitions.problems import Problems, did_you_mean, listed, near_miss, quoted
from pipeline.foundation.units import Size

# What Windows Setup asks for, and below which it fails late or crawls.
MINIMA = {
    Release.SERVER_2019: (1, Size.parse("2G"), Size.parse("32G")),
    Release.SERVER_2022: (1, Size.parse("2G"), Size.parse("32G")),
    Release.SERVER_2025: (1, Size.parse("2G"), Size.parse("32G")),
    Release.WINDOWS_10: (1, Size.parse("2G"), Size.parse("32G")),
    Release.WINDOWS_11: (2, Size.parse("4G"), Size.parse("64G")),
}
REHEARSAL_MINIMA = (1, Size.parse("512M"), Size.parse("2G"))
# A build that is not listed is not judged.
RELEASES_OF_BUILD = {
    "17763": {Release.SERVER_2019},
    "19044": {Release.WINDOWS_10},
    "19045": {Release.WINDOWS_10},
    "20348": {Release.SERVER_2022},
    "22621": {Release.WINDOWS_11},
    "22631": {Release.WINDOWS_11},
    "26100": {Release.SERVER_2025, Release.WINDOWS_11},
    "26200": {Release.WINDOWS_11},
}
# Accounts and names that exist already or that Windows keeps for itself.
TAKEN_USERS = {
    "administrator",
    "guest",
    "defaultaccount",
    "wdagutilityaccount",
    "system",
    "local service",
    "network service",
    "none",
    "sshd",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What an image may refer to: pins by name (``None`` for one that is broken), files."""

    root: Path
    pins: Mapping[str, Section | None]
    complete: bool
    problems: Problems


def check_image(image: Section, known: Known) -> None:
    """Report what is wrong with an image beyond its single values."""
    media = _pin(image, "media", "windows", Kind.ISO, known)
    if (drivers := image.get("drivers")) is not None:
        _pin(drivers, "pin", "drivers", Kind.ISO, known, rehearsal=image.get("rehearsal"))
        _drivers(drivers, known.problems)
    _pin(image, "winfsp", "winfsp", Kind.MSI, known)
    _pin(image, "openssh", "openssh", Kind.MSI, known)
    if media is not None:
        _media(image, media, known.problems)
    _first_boot(image, known)
    _machine(image, known.problems)
    _names(image, known.problems)
    check_steps(image, known.root, known.problems, lambda step: pin_of(step, "pin", known))


def pin_of(section: Section, key: str, known: Known) -> Section | None:
    """The pin that a key names, when it is there and readable; a missing one is reported."""
    name = section.get(key)
    if name is None:
        return None
    if name not in known.pins and known.complete:
        text = f"no such pin in checksums/: {quoted(name)}{did_you_mean(name, known.pins)}"
        known.problems.add(section.at(key), section.named(key), text)
    return known.pins.get(name)


def _pin(
    section: Section, key: str, part: str, kind: Kind, known: Known, rehearsal: bool | None = None
) -> Section | None:
    pin = pin_of(section, key, known)
    if pin is None:
        return None
    if rehearsal is None:
        rehearsal = section.get("rehearsal")
    text = _unfit(pin, part, kind, rehearsal)
    if text:
        known.problems.add(section.at(key), section.named(key), text)
        return None
    return pin


def _unfit(pin: Section, part: str, kind: Kind, rehearsal: bool | None) -> str:
    name, made = quoted(pin.path), pin.get("made")
    if pin.get("kind") not in (None, kind):
        return f'expected a pin of kind "{kind}", found {name} of kind "{pin.get("kind")}"'
    if made is not None and made != part:
        return f'expected a pin made as "{part}", found {name}, which is made as "{made}"'
    if made is not None and rehearsal is False:
        return f"{name} is the rehearsal's; an image that uses it needs rehearsal: true"
    if part == "windows" and rehearsal and made is None and not pin.given("made"):
        return f'a rehearsal needs a medium that is made as "windows", found {name}'
    if part == "windows" and not pin.given("media"):
        return (
            f"{name} does not say what is on the medium; add media (build, architecture, "
            "language, editions) to the pin, as printed by: golden media FILE-OR-URL"
        )
    return ""


def _media(image: Section, pin: Section, problems: Problems) -> None:
    media = pin.get("media")
    if media is None:
        return
    edition, editions = image.get("edition"), media.get("editions")
    names = [item.get("name") for item in editions or () if item.get("name")]
    if edition is not None and names and edition not in names:
        text = f"expected an edition of {pin.path}: {listed(names)}; found {quoted(edition)}"
        problems.add(image.at("edition"), "edition", text + near_miss(edition, names))
    _release(image, media, problems)
    locale, language = image.get("locale"), media.get("language")
    wanted = locale.get("language") if locale else None
    if wanted and language and wanted != language:
        text = f"expected {quoted(language)}, which {pin.path} installs, found {quoted(wanted)}"
        problems.add(locale.at("language"), "locale.language", text)


def _release(image: Section, media: Section, problems: Problems) -> None:
    release, build = image.get("release"), media.get("build")
    fitting = RELEASES_OF_BUILD.get((build or "").partition(".")[0])
    if release is not None and fitting and release not in fitting:
        expected = " or ".join(sorted(quoted(item) for item in fitting))
        text = f"expected {expected} for build {build} of the medium, found {quoted(release)}"
        problems.add(image.at("release"), "release", text)


def _first_boot(image: Section, known: Known) -> None:
    """The service and its package go together, and the stand-in has neither."""
    _pin(image, "cloudbase_init", "cloudbase-init", Kind.MSI, known)
    chosen, pin = image.get("first_boot"), image.get("cloudbase_init")
    wanted = chosen is FirstBoot.CLOUDBASE_INIT
    if wanted and image.get("rehearsal"):
        text = "a rehearsal has no Windows to run cloudbase-init; leave first_boot out"
    elif wanted and pin is None and not image.given("cloudbase_init"):
        text = "needs the pin of its package: cloudbase_init: cloudbase-init"
    else:
        text = ""
    if text:
        known.problems.add(image.at("first_boot"), "first_boot", text)
    if pin is not None and chosen is FirstBoot.GOLDEN:
        text = "does nothing without first_boot: cloudbase-init"
        known.problems.add(image.at("cloudbase_init"), "cloudbase_init", text)


def _machine(image: Section, problems: Problems) -> None:
    machine, release = image.get("machine"), image.get("release")
    if machine is None:
        return
    minima = {True: REHEARSAL_MINIMA, False: MINIMA.get(release)}.get(image.get("rehearsal"))
    for key, least in zip(("cpus", "memory", "disk"), minima or (), strict=False):
        value = machine.get(key)
        if value is not None and value < least:
            text = f'expected at least "{least}" for "{release}", found "{value}"'
            problems.add(machine.at(key), machine.named(key), text)
    if machine.get("firmware") == Firmware.BIOS:
        for key in ("tpm", "secure_boot"):
            if machine.get(key):
                problems.add(machine.at(key), machine.named(key), "needs firmware: uefi")


def _names(image: Section, problems: Problems) -> None:
    user, host_name = image.get("user"), image.get("host_name")
    if user and user.lower() in TAKEN_USERS:
        text = f"expected a name that Windows does not keep for itself, found {quoted(user)}"
        problems.add(image.at("user"), "user", text)
    if user and host_name and user.lower() == host_name.lower():
        text = (
            f"expected a name unlike the user's, which Windows refuses, found {quoted(host_name)}"
        )
        problems.add(image.at("host_name"), "host_name", text)


def _drivers(drivers: Section, problems: Problems) -> None:
    setup = drivers.get("setup")
    if setup is not None and not {"viostor", "vioscsi"} & set(setup):
        text = "expected viostor or vioscsi among them: without one Setup sees no disk"
        problems.add(drivers.at("setup"), drivers.named("setup"), text)
    for key in ("setup", "guest"):
        _twice(drivers, key, drivers.get(key) or (), problems)


def _twice(section: Section, key: str, values: Iterable[str], problems: Problems) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            problems.add(section.at(key), section.named(key), f"{quoted(value)} is given twice")
        seen.add(value)
