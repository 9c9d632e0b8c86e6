"""Arithmetic written as text, evaluated without running any of it as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {"min": min, "max": max, "abs": lambda values: abs(values[0])}
_PLAIN = (ast.Name, ast.Load, ast.UnaryOp, ast.USub, ast.BinOp, *_OPERATORS)


def names_in(formula: str) -> list[str]:
    """Variables of a formula, sorted.

    Raises:
        ValueError: it is not a formula of numbers, names, ``+ - * /``, brackets, ``min``, ``max`` and ``abs``.
    """
    return sorted({node.id for node in ast.walk(_parse(formula)) if isinstance(node, ast.Name)} - _FUNCTIONS.keys())


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """The value of a formula.

    Raises:
        ValueError: as for ``names_in``, or a division by zero.
        KeyError: a variable without a value.
    """
    try:
        return _value(_parse(formula), values)
    except ZeroDivisionError:
        raise ValueError(f"{formula!r} divides by zero") from None


def _parse(formula: str) -> ast.expr:
    try:
        tree = ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{formula!r} is not a formula") from None
    if not all(map(_allowed, ast.walk(tree))):
        raise ValueError(f"{formula!r} is more than arithmetic")
    return tree


def _allowed(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name in _FUNCTIONS and bool(arguments)
        case _:
            return isinstance(node, _PLAIN)


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(operand=operand):
            return -_value(operand, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name]([_value(argument, values) for argument in arguments])
    raise AssertionError(ast.unparse(node))
