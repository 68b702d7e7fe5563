"""List items: ``wcm:action``, ``wcm:keyValue`` and ``Order``; and settings given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipeline.answers.document import WCM, Document, Element, elements, first, local, number
from pipeline.answers.rules.rule import Problem, rule

ACTION, KEY = f"{{{WCM}}}action", f"{{{WCM}}}keyValue"
ITEMS = frozenset(
    {
        *("Disk", "CreatePartition", "ModifyPartition", "MetaData", "DataImage"),
        *("RunSynchronousCommand", "RunAsynchronousCommand", "SynchronousCommand"),
        *("AsynchronousCommand", "LocalAccount", "DomainAccountList", "DomainAccount"),
        *("OfflineDomainAccount", "Interface", "Route"),
    }
)
# Items that Windows tells apart by wcm:keyValue.
KEYED = frozenset({"PathAndCredentials", "IpAddress", "DomainName", "FirewallGroup"})
ORDERED = ITEMS & {
    *("CreatePartition", "ModifyPartition", "RunSynchronousCommand", "RunAsynchronousCommand"),
    *("SynchronousCommand", "AsynchronousCommand"),
}
PARTITIONS = frozenset({"CreatePartition", "ModifyPartition"})


def _items(document: Document, names: frozenset[str]) -> Iterator[Element]:
    for _, path, element in document.settings:
        if "/" in path and local(element) in names:
            yield element


def _lists(document: Document, names: frozenset[str]) -> Iterator[list[Element]]:
    """The items of each list, in the order of the file."""
    parents = {element.getparent(): None for element in _items(document, names)}
    for parent in parents:
        if parent is not None:
            yield [child for child in elements(parent) if local(child) in names]


@rule("list-action", 'an item of a list carries wcm:action="add"; Setup drops it otherwise')
def action(document: Document) -> Iterator[Problem]:
    """List items without ``wcm:action``, or with another value than Setup knows."""
    for item in _items(document, ITEMS | KEYED):
        found = item.get(ACTION)
        if found is None:
            message = f"{local(item)} is an item of a list and has no wcm:action"
            yield Problem(item, message, 'add wcm:action="add"')
        elif found not in ("add", "remove", "modify"):
            yield Problem(item, f'wcm:action="{found}" is not known', 'write wcm:action="add"')


@rule(
    "list-key",
    "items of this list are told apart by wcm:keyValue",
    "number wcm:keyValue from 1",
)
def key_value(document: Document) -> Iterator[Problem]:
    """Keyed list items without a key, or with one that another has."""
    for items in _lists(document, KEYED):
        seen: Counter[str] = Counter()
        for item in items:
            found = item.get(KEY)
            if found is None:
                yield Problem(item, f"{local(item)} has no wcm:keyValue", 'add wcm:keyValue="1"')
                continue
            seen[found] += 1
            if seen[found] == 2:
                yield Problem(item, f'wcm:keyValue="{found}" is taken by another item')


@rule("order-missing", "Order is required for every command and partition")
def order_missing(document: Document) -> Iterator[Problem]:
    """Ordered list items without ``Order``."""
    for item in _items(document, ORDERED):
        if first(item, "Order") is None:
            yield Problem(item, f"{local(item)} has no Order", "number the items from 1")


@rule(
    "order-duplicate",
    "Order is unique within its list",
    "number the items from 1",
)
def order_duplicate(document: Document) -> Iterator[Problem]:
    """Two items of a list with the same ``Order``."""
    for items in _lists(document, ORDERED):
        seen: set[int] = set()
        for item in items:
            found = number(item, "Order")
            if found in seen:
                yield Problem(item, f"Order {found} is taken by another {local(item)}")
            if found is not None:
                seen.add(found)


@rule("order-gap", "partitions are numbered 1, 2, 3 …: their numbers are their identities")
def order_gap(document: Document) -> Iterator[Problem]:
    """Partitions whose ``Order`` does not count from 1 without a gap."""
    for items in _lists(document, PARTITIONS):
        numbers = sorted({found for item in items if (found := number(item, "Order")) is not None})
        if numbers and numbers != list(range(1, len(numbers) + 1)):
            message = f"Order is {', '.join(map(str, numbers))} and not 1 to {len(numbers)}"
            yield Problem(items[0], message, "number the items from 1 without a gap")


@rule("setting-twice", "of a setting given twice, Setup refuses the file or takes either")
def twice(document: Document) -> Iterator[Problem]:
    """The same setting twice below one parent."""
    for component in document.components:
        groups = [component.element, *(element for _, element in component.settings())]
        for group in groups:
            seen: set[str] = set()
            for child in elements(group):
                name = local(child)
                item = name in ITEMS | KEYED or child.get(ACTION) is not None
                if name in seen and not item:
                    yield Problem(child, f"{name} is given twice", "keep one of them")
                seen.add(name)
