"""What Setup knows of the answer file's settings: names, passes, kinds of value.

A nested table: a ``dict`` is an element with children, a string or a tuple is the kind of its text,
and a name that ends in ``*`` is a list item, with ``wcm:action="add"``. Only settings on
this table exist for the stand-in; what is not on it is refused, as Setup refuses what it does not
know.
"""

from __future__ import annotations

from typing import Any

UI = ("Always", "OnError", "Never")
PASSWORD = {"Value": "text", "PlainText": "bool"}
CREDENTIALS = {"Domain": "text", "Username": "text", "Password": "text"}
INTERNATIONAL = {
    "InputLocale": "text",
    "SystemLocale": "text",
    "UILanguage": "text",
    "UILanguageFallback": "text",
    "UserLocale": "text",
}
COMMAND = {
    "Order": "order",
    "Path": "path",
    "Description": "text",
    "WillReboot": ("Always", "OnRequest", "Never"),
    "Credentials": CREDENTIALS,
}
DISK = {
    "DiskID": "number",
    "WillWipeDisk": "bool",
    "CreatePartitions": {
        "CreatePartition*": {
            "Order": "order",
            "Type": ("Primary", "EFI", "Extended", "Logical", "MSR"),
            "Size": "number",
            "Extend": "bool",
        }
    },
    "ModifyPartitions": {
        "ModifyPartition*": {
            "Order": "order",
            "PartitionID": "number",
            "Active": "bool",
            "Extend": "bool",
            "Format": ("NTFS", "FAT32", "FAT"),
            "Label": "text",
            "Letter": "letter",
            "TypeID": "text",
        }
    },
}
SETUP = {
    "DiskConfiguration": {
        "WillShowUI": UI,
        "DisableEncryptedDiskProvisioning": "bool",
        "Disk*": DISK,
    },
    "DynamicUpdate": {"Enable": "bool", "WillShowUI": UI},
    "EnableFirewall": "bool",
    "EnableNetwork": "bool",
    "ImageInstall": {
        "OSImage": {
            "Compact": "bool",
            "InstallFrom": {
                "Path": "text",
                "MetaData*": {
                    "Key": ("/IMAGE/INDEX", "/IMAGE/NAME", "/IMAGE/DESCRIPTION"),
                    "Value": "text",
                },
            },
            "InstallTo": {"DiskID": "number", "PartitionID": "number"},
            "InstallToAvailablePartition": "bool",
            "WillShowUI": UI,
        }
    },
    "RunSynchronous": {"RunSynchronousCommand*": COMMAND},
    "RunAsynchronous": {"RunAsynchronousCommand*": COMMAND},
    "UserData": {
        "AcceptEula": "bool",
        "FullName": "text",
        "Organization": "text",
        "ProductKey": {"Key": "key", "WillShowUI": UI},
    },
    "UseConfigurationSet": "bool",
    "Restart": ("Restart", "Shutdown"),
}
DRIVERS = {"DriverPaths": {"PathAndCredentials*": {"Path": "text", "Credentials": CREDENTIALS}}}
SHELL_SPECIALIZE = {
    "ComputerName": "computer",
    "CopyProfile": "bool",
    "ProductKey": "text",
    "RegisteredOrganization": "text",
    "RegisteredOwner": "text",
    "TimeZone": "text",
    "AutoLogon": None,
}
AUTOLOGON = {
    "Enabled": "bool",
    "LogonCount": "number",
    "Username": "text",
    "Domain": "text",
    "Password": PASSWORD,
}
SHELL_OOBE = {
    "AutoLogon": AUTOLOGON,
    "FirstLogonCommands": {
        "SynchronousCommand*": {
            "Order": "order",
            "CommandLine": "line",
            "Description": "text",
            "RequiresUserInput": "bool",
        }
    },
    "OOBE": {
        "HideEULAPage": "bool",
        "HideLocalAccountScreen": "bool",
        "HideOEMRegistrationScreen": "bool",
        "HideOnlineAccountScreens": "bool",
        "HideWirelessSetupInOOBE": "bool",
        "ProtectYourPC": ("1", "2", "3"),
        "SkipMachineOOBE": "bool",
        "SkipUserOOBE": "bool",
        "NetworkLocation": ("Home", "Work", "Other"),
    },
    "RegisteredOrganization": "text",
    "RegisteredOwner": "text",
    "TimeZone": "text",
    "UserAccounts": {
        "AdministratorPassword": PASSWORD,
        "LocalAccounts": {
            "LocalAccount*": {
                "Name": "text",
                "DisplayName": "text",
                "Description": "text",
                "Group": "text",
                "Password": PASSWORD,
            }
        },
    },
}
SHELL = "Microsoft-Windows-Shell-Setup"
PNP = {"DoNotCleanUpNonPresentDevices": "bool", "PersistAllDeviceInstalls": "bool"}

TABLE: dict[str, dict[str, Any]] = {
    "windowsPE": {
        "Microsoft-Windows-International-Core-WinPE": INTERNATIONAL
        | {"SetupUILanguage": {"UILanguage": "text", "WillShowUI": UI}, "LayeredDriver": "number"},
        "Microsoft-Windows-PnpCustomizationsWinPE": DRIVERS,
        "Microsoft-Windows-Setup": SETUP,
    },
    "offlineServicing": {"Microsoft-Windows-PnpCustomizationsNonWinPE": DRIVERS},
    "generalize": {"Microsoft-Windows-PnpSysprep": PNP},
    "specialize": {
        "Microsoft-Windows-Deployment": {
            "RunSynchronous": {"RunSynchronousCommand*": COMMAND},
            "RunAsynchronous": {"RunAsynchronousCommand*": COMMAND},
        },
        "Microsoft-Windows-International-Core": INTERNATIONAL,
        "Microsoft-Windows-SecureStartup-FilterDriver": {"PreventDeviceEncryption": "bool"},
        "Microsoft-Windows-TerminalServices-LocalSessionManager": {"fDenyTSConnections": "bool"},
        SHELL: {name: kind for name, kind in SHELL_SPECIALIZE.items() if kind},
    },
    "oobeSystem": {
        "Microsoft-Windows-International-Core": INTERNATIONAL,
        SHELL: SHELL_OOBE,
    },
}
PASSES = (*TABLE, "auditSystem", "auditUser")
