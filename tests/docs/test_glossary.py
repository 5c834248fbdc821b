"""docs/glossary.md knows every public class, and one name means one thing."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")

# Two classes of one name, each with the reason why neither can have another.
SHARED_NAMES = {
    # `ash.testing` offers one to users; the other is a call of the client.
    "Request",
}


def public_classes():
    """The names of the classes that stand in a module of their own right, not in another."""
    for package in ("ash", "bridge"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ast.parse(path.read_text(encoding="utf-8"))
            for node in module.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name


CLASSES = Counter(public_classes())


def names_of_rows():
    """The names in the second column of the tables."""
    rows = [line.split("|") for line in GLOSSARY.splitlines() if line.startswith("| ")]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row[2])]


def plain_names():
    """The names in the list of those that need no sentence."""
    return re.findall(r"`(\w+)`", GLOSSARY.partition("The name and the docstring say it all:")[2])


def test_glossary_has_every_class():
    """A new class gets a row, or stands among those whose name says it all."""
    assert [] == sorted(CLASSES.keys() - {*names_of_rows(), *plain_names()})


def test_glossary_names_no_class_that_is_gone():
    """A class that is renamed or removed is so in the glossary, too."""
    assert [] == sorted({*names_of_rows(), *plain_names()} - CLASSES.keys())


def test_plain_names_have_no_row():
    """A class is explained or it is plain, not both."""
    assert set() == {*names_of_rows()} & {*plain_names()}


def test_terms_are_explained_once():
    """No term has two rows, and each row has its three columns and ends its sentence."""
    rows = [line.split("|") for line in GLOSSARY.splitlines() if line.startswith("| ")]
    terms = Counter(row[1].strip() for row in rows if row[1].strip() != "term")
    assert [] == [term for term, count in terms.items() if count > 1]
    assert [] == [row[1] for row in rows if row[1] != " term " and not row[3].endswith(". ")]


def test_class_names_are_used_once():
    """A name that is used twice is listed with a reason; the list has none that isn't."""
    assert SHARED_NAMES == {name for name, count in CLASSES.items() if count > 1}
