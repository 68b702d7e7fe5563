"""Accounts, the automatic logon, and the form of passwords."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipeline.answers.document import Document, Element, at, first, local, text, true, value
from pipeline.answers.findings import Severity
from pipeline.answers.passwords import SUFFIXES, decode
from pipeline.answers.rules.rule import Problem, rule

SHELL = "Microsoft-Windows-Shell-Setup"
BUILT_IN = frozenset({"administrator", "guest", "defaultaccount", "wdagutilityaccount"})


def _passwords(document: Document) -> Iterator[Element]:
    """Every password that has the form of Value and PlainText."""
    for _, _, element in document.settings:
        if local(element) in SUFFIXES and at(element, "Value"):
            yield element


def _encoded(password: Element) -> bool:
    return value(password, "PlainText").lower() in ("false", "0")


def _accounts(document: Document) -> list[Element]:
    return [
        *document.every(SHELL, "UserAccounts/LocalAccounts/LocalAccount"),
        *document.every(SHELL, "OfflineUserAccounts/OfflineLocalAccounts/LocalAccount"),
    ]


@rule("password-form", "PlainText=false means Base64 over UTF-16LE of the password and its name")
def password_form(document: Document) -> Iterator[Problem]:
    """Passwords that Windows could not decode; the value itself is never shown."""
    for password in _passwords(document):
        given = first(password, "Value")
        if given is None or not text(given) or not _encoded(password):
            continue
        fix = f'Base64 over UTF-16LE of the password followed by "{local(password)}"'
        try:
            decoded = decode(text(given), local(password)) + local(password)
        except ValueError as wrong:
            yield Problem(given, f"the encoded password {wrong}", fix)
            continue
        for suffix in SUFFIXES:
            if len(suffix) > len(local(password)) and decoded.endswith(suffix):
                message = f'the encoded password ends with "{suffix}", the name of another element'
                yield Problem(given, message, fix, Severity.WARNING)


@rule("password-plain", "a password in plain text is read by whoever sees the file")
def password_plain(document: Document) -> Iterator[Problem]:
    """Passwords in plain text, or of which it is not said whether they are."""
    for password in _passwords(document):
        if first(password, "PlainText") is None:
            message = "it is not said whether the password is plain text"
            yield Problem(password, message, "add PlainText", Severity.WARNING)
        elif value(password, "Value") and not _encoded(password):
            message = "the password stands in plain text"
            yield Problem(password, message, "encode it and say PlainText false", Severity.WARNING)


@rule(
    "account-missing-name",
    "an account needs a name",
    "give each account a Name of its own",
)
def account_named(document: Document) -> Iterator[Problem]:
    """Accounts without a name, and names that two accounts have or Windows has already."""
    seen: Counter[str] = Counter()
    for account in _accounts(document):
        name = value(account, "Name").lower()
        seen[name] += 1
        if first(account, "Name") is None:
            yield Problem(account, "the account has no Name")
        elif name in BUILT_IN:
            message = f"{value(account, 'Name')} exists in every Windows"
            yield Problem(account, message, "its password is AdministratorPassword")
        elif name and seen[name] == 2:
            yield Problem(account, f"two accounts are called {value(account, 'Name')}")


@rule("account-groupless", "an account without a group cannot log on locally")
def account_group(document: Document) -> Iterator[Problem]:
    """Accounts without a group."""
    for account in _accounts(document):
        if not value(account, "Group"):
            message = "the account is in no group"
            yield Problem(account, message, "Group Administrators or Users", Severity.WARNING)


@rule("account-computer", "an account called like the machine is looked up as the machine")
def account_computer(document: Document) -> Iterator[Problem]:
    """A user and a computer with the same name."""
    computers = {text(name).lower() for name in document.every(SHELL, "ComputerName")}
    for account in _accounts(document):
        name = value(account, "Name")
        if name and name.lower() in computers:
            message = f'the account and the computer are both called "{name}"'
            yield Problem(account, message, "rename one: logons by SSH fail otherwise")


@rule(
    "autologon",
    "an automatic logon needs an account with its password",
    "write Username and Password of an account that this file makes",
)
def autologon(document: Document) -> Iterator[Problem]:
    """Automatic logons without a name or password, or of an account the file does not make."""
    known = {value(account, "Name").lower() for account in _accounts(document)}
    for logon in document.every(SHELL, "AutoLogon"):
        if not true(logon, "Enabled"):
            continue
        name = value(logon, "Username")
        if not name:
            yield Problem(logon, "AutoLogon has no Username")
        elif known and name.lower() not in known | BUILT_IN and not value(logon, "Domain"):
            fix = f"accounts: {', '.join(sorted(known))}"
            yield Problem(logon, f'no account in this file is called "{name}"', fix)
        if not at(logon, "Password/Value"):
            message = "AutoLogon has no Password: the logon works for an empty one only"
            yield Problem(logon, message, "", Severity.WARNING)


@rule("autologon-count", "without LogonCount the automatic logon never ends")
def autologon_count(document: Document) -> Iterator[Problem]:
    """Automatic logons without an end."""
    for logon in document.every(SHELL, "AutoLogon"):
        if true(logon, "Enabled") and first(logon, "LogonCount") is None:
            message = "AutoLogon has no LogonCount: every start logs on by itself"
            yield Problem(logon, message, "LogonCount 1", Severity.WARNING)


@rule(
    "autologon-password",
    "the automatic logon uses the account's own password",
    "write the same password in both places",
)
def autologon_password(document: Document) -> Iterator[Problem]:
    """An automatic logon with another password than the account is given."""
    accounts = {
        value(account, "Name").lower(): _plain(first(account, "Password"))
        for account in _accounts(document)
    }
    administrator = next(iter(document.every(SHELL, "UserAccounts/AdministratorPassword")), None)
    accounts.setdefault("administrator", _plain(administrator))
    for logon in document.every(SHELL, "AutoLogon"):
        wanted = accounts.get(value(logon, "Username").lower())
        given = _plain(first(logon, "Password"))
        if true(logon, "Enabled") and None not in (wanted, given) and wanted != given:
            yield Problem(logon, "the password is not the one that the account is given")


def _plain(password: Element | None) -> str | None:
    """A password as it will be typed; None where it cannot be told."""
    if password is None or not at(password, "Value"):
        return None
    if not _encoded(password):
        return value(password, "Value")
    try:
        return decode(value(password, "Value"), local(password))
    except ValueError:
        return None
