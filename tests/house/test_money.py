"""Money and what it is made of are whole numbers: no file on their way knows another kind."""

import ast

import pytest
from tree import package

MODULES = package()
ON_THE_WAY = [
    "control/accounts.py",
    "control/audit.py",
    "control/ledger.py",
    "control/rating.py",
    "ledger_commands.py",
    "price_file.py",
    "prices.py",
]


def rounded(tree: ast.AST) -> list[str]:
    """Where a float is written, made, or comes out of a division."""
    found = []
    for node in ast.walk(tree):
        written = isinstance(node, ast.Constant) and isinstance(node.value, float | complex)
        divided = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
        made = isinstance(node, ast.Name) and node.id in ("float", "round")
        if written or divided or made:
            found.append(ast.unparse(node))
    return found


def test_a_float_is_found() -> None:
    assert len(rounded(ast.parse("a = 0.5\nb = c / d\nb /= 2\nfloat(a)\nround(b)"))) == 5
    assert rounded(ast.parse("a = 5 // 2 * 3 % 4")) == []


@pytest.mark.parametrize("path", ON_THE_WAY)
def test_no_float_on_the_way_of_money(path: str) -> None:
    assert rounded(MODULES[path]) == []
