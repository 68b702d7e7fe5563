"""Mistakes in accounts, passwords, the automatic logon and commands."""

from __future__ import annotations

from pipeline.answers.passwords import encode
from tests.unit.answers.mutate import LONG, Mutation, again, element, swap, within

WRONG_SUFFIX = encode("secret", "AdministratorPassword")
OTHER = encode("another.Password-0", "Password")
UTF8 = "c2VjcmV0UGFzc3dvcmQ="  # Base64 over the wrong encoding

MUTATIONS = (
    # accounts
    Mutation(
        "password with the suffix of another element",
        "password-form",
        "uefi",
        element("Value", f"<Value>{WRONG_SUFFIX}</Value>", 1),
    ),
    Mutation(
        "password Base64 over UTF-8",
        "password-form",
        "uefi",
        element("Value", f"<Value>{UTF8}</Value>", 1),
    ),
    Mutation(
        "password no Base64",
        "password-form",
        "uefi",
        element("Value", "<Value>pass word!</Value>", 1),
    ),
    Mutation(
        "administrator's password with the suffix of a user's",
        "password-form",
        "bios",
        within("AdministratorPassword", element("Value", f"<Value>{OTHER}</Value>")),
    ),
    Mutation(
        "password in plain text",
        "password-plain",
        "uefi",
        within(
            "AutoLogon",
            element(
                "Password", "<Password><Value>secret</Value><PlainText>true</PlainText></Password>"
            ),
        ),
    ),
    Mutation(
        "PlainText missing", "password-plain", "uefi", within("AutoLogon", element("PlainText", ""))
    ),
    Mutation(
        "account without a name",
        "account-missing-name",
        "uefi",
        within("LocalAccount", element("Name", "")),
    ),
    Mutation("account given twice", "account-missing-name", "uefi", again("LocalAccount")),
    Mutation(
        "account that exists already",
        "account-missing-name",
        "uefi",
        within("LocalAccount", swap("<Name>golden", "<Name>Administrator")),
    ),
    Mutation(
        "account name too long",
        "account-name",
        "uefi",
        within("LocalAccount", swap("<Name>golden", "<Name>golden-golden-golden-x")),
    ),
    Mutation(
        "account name with a slash",
        "account-name",
        "uefi",
        within("LocalAccount", swap("<Name>golden", "<Name>EXAMPLE\\golden")),
    ),
    Mutation("account without a group", "account-groupless", "uefi", element("Group", "")),
    Mutation(
        "list of groups too long",
        "account-group",
        "uefi",
        element("Group", f"<Group>{LONG}</Group>"),
    ),
    Mutation(
        "account called like the computer",
        "account-computer",
        "uefi",
        swap("golden-build", "GOLDEN"),
    ),
    Mutation("automatic logon of nobody", "autologon", "uefi", element("Username", "")),
    Mutation(
        "automatic logon of an account that is not made",
        "autologon",
        "uefi",
        swap("<Username>golden", "<Username>goldie"),
    ),
    Mutation(
        "automatic logon without a password",
        "autologon",
        "uefi",
        within("AutoLogon", element("Password", "")),
    ),
    Mutation(
        "automatic logon without an end", "autologon-count", "uefi", element("LogonCount", "")
    ),
    Mutation("LogonCount zero", "logon-count", "uefi", swap("<LogonCount>1", "<LogonCount>0")),
    Mutation(
        "automatic logon with another password",
        "autologon-password",
        "uefi",
        within("AutoLogon", element("Value", f"<Value>{OTHER}</Value>")),
    ),
    # commands
    Mutation(
        "command of 260 characters",
        "command-length",
        "uefi",
        swap("cmd /c echo GOLDEN pass specialize", "cmd /c echo " + "x" * (260 - 18)),
    ),
    Mutation(
        "first-logon command of 1025 characters",
        "command-length",
        "uefi",
        swap("powershell.exe -NoProfile", "powershell.exe " + "x" * 1025),
    ),
    Mutation(
        "description too long",
        "description-length",
        "uefi",
        swap("</CommandLine>", f"</CommandLine><Description>{LONG}</Description>"),
    ),
    Mutation(
        "command missing",
        "command-missing",
        "uefi",
        within("FirstLogonCommands", element("CommandLine", "")),
    ),
    Mutation(
        "command empty",
        "command-length",
        "uefi",
        within("FirstLogonCommands", element("CommandLine", "<CommandLine></CommandLine>")),
    ),
    Mutation(
        "built-in command without cmd",
        "command-built-in",
        "uefi",
        swap("cmd /c echo GOLDEN pass specialize", "echo GOLDEN pass specialize"),
    ),
    Mutation(
        "redirection without cmd", "command-built-in", "uefi", swap("/d 1 /f<", "/d 1 /f &gt; NUL<")
    ),
    Mutation("digit before >", "command-handle", "uefi", swap("pass specialize&gt;", "pass 4&gt;")),
    Mutation("wmic", "command-gone", "domain", swap("net user administrator", "wmic useraccount")),
    Mutation(
        "restart by a command",
        "command-restart",
        "domain",
        swap("net user administrator /active:yes", "shutdown.exe /r /t 0"),
    ),
    Mutation(
        "command that waits for a key",
        "command-interactive",
        "uefi",
        swap("pass specialize&gt; COM1", "pass specialize&gt; COM1 &amp; pause"),
    ),
)
