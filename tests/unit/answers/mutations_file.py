"""Mistakes in the file itself, its envelope, components, settings and lists."""

from __future__ import annotations

from tests.unit.answers.mutate import Mutation, again, both, drop, element, in_pass, swap, within

ADD = ' wcm:action="add"'
TOKEN = 'publicKeyToken="31bf3856ad364e35"'

MUTATIONS = (
    # the file and its envelope
    Mutation("tag not closed", "xml", "uefi", drop("</OSImage>")),
    Mutation("ampersand not escaped", "xml", "uefi", swap("&amp;", "&")),
    Mutation("unknown entity", "xml", "uefi", swap("&amp;", "&nbsp;")),
    Mutation(
        "document type",
        "doctype",
        "uefi",
        swap("<unattend ", "<!DOCTYPE unattend [<!ENTITY a 'b'>]>\n<unattend "),
    ),
    Mutation("other root", "root", "oobe", lambda text: "<answers/>" if text else ""),
    Mutation(
        "no namespace", "namespace", "oobe", drop(' xmlns="urn:schemas-microsoft-com:unattend"')
    ),
    Mutation("misspelt namespace", "namespace", "oobe", swap("com:unattend", "com:unatend")),
    Mutation(
        "element of another namespace",
        "namespace",
        "uefi",
        swap("<TimeZone>", '<TimeZone xmlns="urn:x">'),
    ),
    Mutation("file far too large", "size", "oobe", lambda text: text + " " * (1 << 20)),
    Mutation("unknown pass", "envelope", "uefi", in_pass("specialize", "specialise")),
    Mutation("pass in other capitals", "envelope", "uefi", in_pass("windowsPE", "windowspe")),
    Mutation("pass missing", "envelope", "uefi", drop(' pass="oobeSystem"')),
    Mutation("pass given twice", "envelope", "uefi", in_pass("specialize", "oobeSystem")),
    Mutation("architecture missing", "envelope", "uefi", drop(' processorArchitecture="amd64"')),
    Mutation("architecture x64", "envelope", "uefi", swap('"amd64"', '"x64"')),
    Mutation("token missing", "envelope", "uefi", drop(f" {TOKEN}")),
    Mutation("token too short", "envelope", "uefi", swap("31bf3856ad364e35", "31bf3856ad364e3")),
    Mutation(
        "token of somebody else", "token", "uefi", swap("31bf3856ad364e35", "b03f5f7f11d50a3a")
    ),
    Mutation("version scope missing", "envelope", "uefi", drop(' versionScope="nonSxS"')),
    Mutation(
        "component outside a pass",
        "envelope",
        "oobe",
        both(drop('<settings pass="generalize">'), drop("</settings>")),
    ),
    # components and settings
    Mutation(
        "component misspelt",
        "component-unknown",
        "uefi",
        swap("Microsoft-Windows-Deployment", "Microsoft-Windows-Deploymnt"),
    ),
    Mutation(
        "component in a pass without settings of it",
        "component-pass",
        "uefi",
        in_pass("windowsPE", "offlineServicing"),
    ),
    Mutation("component given twice", "component-twice", "uefi", again("component", 1)),
    Mutation(
        "setting in the wrong pass",
        "setting-pass",
        "uefi",
        both(
            drop("<ComputerName>golden-build</ComputerName>"),
            swap("<OOBE>", "<ComputerName>golden-build</ComputerName><OOBE>"),
        ),
    ),
    Mutation(
        "OOBE in specialize",
        "setting-pass",
        "uefi",
        swap("<ComputerName>", "<OOBE><HideEULAPage>true</HideEULAPage></OOBE><ComputerName>"),
    ),
    Mutation(
        "setting misspelt",
        "setting-unknown",
        "uefi",
        element("HideEULAPage", "<HideEulaPage>true</HideEulaPage>"),
    ),
    Mutation(
        "setting one level too deep",
        "setting-unknown",
        "uefi",
        swap("<DiskID>0</DiskID>", "<DiskID>0</DiskID><WillShowUI>Never</WillShowUI>"),
    ),
    Mutation("setting given twice", "setting-twice", "uefi", again("ComputerName")),
    Mutation("text in a group", "setting-group", "uefi", swap("<OOBE>", "<OOBE>yes")),
    Mutation(
        "group given as a value", "setting-group", "uefi", element("OOBE", "<OOBE>true</OOBE>")
    ),
    Mutation(
        "empty value",
        "setting-empty",
        "domain",
        element("RegisteredOrganization", "<RegisteredOrganization/>"),
    ),
    # lists
    Mutation("wcm:action missing on a disk", "list-action", "uefi", swap(f"<Disk{ADD}>", "<Disk>")),
    Mutation(
        "wcm:action missing on a command",
        "list-action",
        "uefi",
        swap(f"<SynchronousCommand{ADD}>", "<SynchronousCommand>"),
    ),
    Mutation(
        "wcm:action missing on an account",
        "list-action",
        "uefi",
        swap(f"<LocalAccount{ADD}>", "<LocalAccount>"),
    ),
    Mutation("wcm:action unknown", "list-action", "uefi", swap('action="add"', 'action="insert"')),
    Mutation(
        "wcm namespace misspelt",
        "list-action",
        "uefi",
        swap("WMIConfig/2002/State", "WMIConfig/2002/state"),
    ),
    Mutation("wcm:keyValue missing", "list-key", "uefi", drop(' wcm:keyValue="3"')),
    Mutation(
        "wcm:keyValue twice", "list-key", "uefi", swap('wcm:keyValue="2"', 'wcm:keyValue="1"')
    ),
    Mutation(
        "Order missing", "order-missing", "uefi", within("RunSynchronous", element("Order", ""))
    ),
    Mutation(
        "Order twice among commands",
        "order-duplicate",
        "uefi",
        within("FirstLogonCommands", swap("<Order>2<", "<Order>1<")),
    ),
    Mutation(
        "Order twice among partitions",
        "order-duplicate",
        "uefi",
        within("CreatePartitions", swap("<Order>3<", "<Order>2<")),
    ),
    Mutation(
        "Order with a gap among partitions",
        "order-gap",
        "uefi",
        within("ModifyPartitions", swap("<Order>3<", "<Order>4<")),
    ),
    Mutation(
        "Order from zero", "order", "uefi", within("RunSynchronous", swap("<Order>1<", "<Order>0<"))
    ),
    Mutation(
        "Order above 500",
        "order",
        "uefi",
        within("RunSynchronous", swap("<Order>2<", "<Order>501<")),
    ),
    Mutation(
        "Order no number",
        "order",
        "uefi",
        within("RunSynchronous", swap("<Order>2<", "<Order>two<")),
    ),
)
