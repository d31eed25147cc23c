"""The boundary has the same names in its contract, `_native.pyi`, and in the module as built."""

import ast

from tree import PACKAGE, text

from levada import _native

STUB = ast.parse(text(PACKAGE / "_native.pyi"))
CLASSES = [node for node in STUB.body if isinstance(node, ast.ClassDef)]
FUNCTIONS = [node for node in STUB.body if isinstance(node, ast.FunctionDef)]
# A name for a type, which the built module does not need.
TYPES = {"Headers"}


def public(words: list[str]) -> set[str]:
    return {word for word in words if not word.startswith("_")}


def test_the_module_has_what_the_contract_names() -> None:
    assert public(dir(_native)) == {node.name for node in [*CLASSES, *FUNCTIONS]}
    named = [ast.unparse(node.targets[0]) for node in STUB.body if isinstance(node, ast.Assign)]
    assert set(named) == TYPES


def test_classes_have_what_the_contract_names() -> None:
    for node in CLASSES:
        built = getattr(_native, node.name)
        own = public(dir(built)) - public(dir(built.__mro__[1]))
        methods = [one.name for one in node.body if isinstance(one, ast.FunctionDef)]
        assert own == public(methods), node.name


def test_every_member_is_explained() -> None:
    mute = [
        f"{owner.name}.{node.name}"
        for owner in CLASSES
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and not ast.get_docstring(node)
    ]
    mute += [node.name for node in FUNCTIONS if not ast.get_docstring(node)]
    assert mute == []
