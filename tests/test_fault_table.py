"""The table of tests/README.md names tests that exist."""

import ast
import fnmatch
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def named_tests():
    """Pairs (file, pattern) of the last column; a file stands before the names in it, alone it is all of its tests."""
    for row in re.findall(r"^\|.*\|(.*)\|$", (TESTS / "README.md").read_text("utf-8"), re.MULTILINE):
        file = None
        for name, pattern in re.findall(r"(?<!`)\b(test_\w+)|`((?:test_|\*)[^`]*)`", row):
            file = name or file
            yield file, pattern or "*"


def functions(file):
    tree = ast.parse((TESTS / f"{file}.py").read_text("utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def test_there_are_names():
    assert len(set(named_tests())) > 80


@pytest.mark.parametrize(("file", "pattern"), sorted(set(named_tests()), key=str))
def test_the_table_names_tests_that_exist(file, pattern):
    assert fnmatch.filter(functions(file), pattern)
