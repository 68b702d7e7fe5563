"""Mistakes in single values."""

from __future__ import annotations

from tests.unit.answers.mutate import LONG, Mutation, swap

IDENTITY = (
    'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" '
    'versionScope="nonSxS"'
)
SPP = (
    f'<component name="Microsoft-Windows-Security-SPP" {IDENTITY}>'
    "<SkipRearm>2</SkipRearm></component>"
)
RESEAL = (
    f'<component name="Microsoft-Windows-Deployment" {IDENTITY}>'
    "<Reseal><Mode>Setup</Mode></Reseal></component>"
)

MUTATIONS = (
    # values
    Mutation("Boolean yes", "boolean", "uefi", swap("<HideEULAPage>true", "<HideEULAPage>yes")),
    Mutation("WillShowUI unknown", "will-show-ui", "uefi", swap("OnError", "OnFailure")),
    Mutation(
        "WillReboot unknown",
        "will-reboot",
        "oobe",
        swap("</Path>", "</Path><WillReboot>Maybe</WillReboot>"),
    ),
    Mutation(
        "ProtectYourPC out of range",
        "protect-your-pc",
        "uefi",
        swap("<ProtectYourPC>3", "<ProtectYourPC>4"),
    ),
    Mutation(
        "NetworkLocation unknown",
        "network-location",
        "client",
        swap("<NetworkLocation>Home", "<NetworkLocation>Public"),
    ),
    Mutation(
        "ComputerName too long", "computer-name", "uefi", swap("golden-build", "golden-build-host")
    ),
    Mutation(
        "ComputerName too long in bytes",
        "computer-name",
        "uefi",
        swap("golden-build", "größe-größe-gr"),
    ),
    Mutation(
        "ComputerName digits alone", "computer-name", "uefi", swap("golden-build", "20251126")
    ),
    Mutation(
        "ComputerName with a dot", "computer-name", "uefi", swap("golden-build", "golden.build")
    ),
    Mutation(
        "ComputerName with a space", "computer-name", "uefi", swap("golden-build", "golden build")
    ),
    Mutation(
        "time zone of IANA", "time-zone", "uefi", swap("<TimeZone>UTC", "<TimeZone>Europe/Berlin")
    ),
    Mutation(
        "time zone misspelt",
        "time-zone",
        "client",
        swap("W. Europe Standard Time", "W Europe Standard Time"),
    ),
    Mutation(
        "language with an underscore",
        "language",
        "uefi",
        swap("<UILanguage>en-US", "<UILanguage>en_US"),
    ),
    Mutation(
        "keyboard without its language", "input-locale", "uefi", swap("0409:00000409", "00000409")
    ),
    Mutation("owner too long", "owner-length", "uefi", swap("Golden Windows", LONG)),
    Mutation(
        "product key empty", "product-key", "uefi", swap("<ProductKey>", "<ProductKey><Key></Key>")
    ),
    Mutation("product key malformed", "product-key", "client", swap("ABCDE-FGHIJ", "ABCDE-FGHI")),
    Mutation(
        "SkipRearm out of range",
        "skip-rearm",
        "oobe",
        swap(
            '<component name="Microsoft-Windows-PnpSysprep"',
            f'{SPP}<component name="Microsoft-Windows-PnpSysprep"',
        ),
    ),
    Mutation(
        "Mode of Reseal unknown",
        "reseal-mode",
        "oobe",
        swap('<settings pass="oobeSystem">', f'<settings pass="oobeSystem">{RESEAL}'),
    ),
    Mutation(
        "LayeredDriver out of range",
        "layered-driver",
        "uefi",
        swap("<SystemLocale>", "<LayeredDriver>7</LayeredDriver><SystemLocale>"),
    ),
)
