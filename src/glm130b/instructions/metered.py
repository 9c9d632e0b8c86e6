# ruff: noqa: N802
"""A template's syntax tree before it is compiled: what it may hold, where it divides, and where it pays."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from glm130b.instructions.allowed import words
from glm130b.instructions.prompts import RenderError

SEPARATOR = "|||"

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign),
    *(nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Name, nodes.NSRef, nodes.Keyword),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter, nodes.Test, nodes.CondExpr),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Concat),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow),
)
"""What PromptSource's templates use, and the operators beside it."""

_SEARCHES = words(
    "count endswith find index lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split "
    "startswith strip"
)
"""Methods of texts whose arguments are looked for in the text."""


def check(tree: nodes.Template) -> None:
    """Refuse every kind of node that is not on the list.

    Raises:
        RenderError: naming the kind and its line.
    """
    found = [node for node in tree.find_all(nodes.Node) if type(node) not in _ALLOWED]
    found += [node for node in tree.find_all(nodes.For) if node.recursive]
    if found:
        node = next((node for node in found if node.lineno), found[0])
        kind = "recursive For" if isinstance(node, nodes.For) else type(node).__name__
        raise RenderError(f"line {node.lineno} has the node {kind}, which templates may not use")


def mark_separators(tree: nodes.Template, mark: str) -> None:
    """Put ``mark`` in the place of each ``|||`` that the template itself prints, so that no data can divide.

    Constants that are compared with data or looked for in them stay as they are.
    """
    searched: set[int] = set()
    for node in tree.find_all((nodes.Compare, nodes.Test, nodes.Call, nodes.Filter)):
        searched |= {id(text) for part in _searched(node) for text in (part, *part.find_all(nodes.Const))}
    for node in tree.find_all((nodes.TemplateData, nodes.Const)):
        if isinstance(node, nodes.TemplateData):
            node.data = node.data.replace(SEPARATOR, mark)
        elif isinstance(node, nodes.Const) and isinstance(node.value, str) and id(node) not in searched:
            node.value = node.value.replace(SEPARATOR, mark)


def _searched(node: nodes.Node) -> list[nodes.Expr]:
    if isinstance(node, nodes.Compare):
        return [node.expr, *(operand.expr for operand in node.ops)]
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return node.args if node.node.attr in _SEARCHES else node.args[: node.node.attr == "replace"]
    if isinstance(node, nodes.Filter):
        return node.args[: node.name == "replace"]
    return node.args if isinstance(node, nodes.Test) else []


class Metered(NodeTransformer):
    """Sends loops, concatenations, comparisons, slices and printed text through the sandbox's own methods.

    These pay out of the budget where Jinja leaves no other place for it.
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Count the turns, each of which costs as much as the loop is long."""
        size = sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _own("_turns", node.iter, nodes.Const(size))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Pay for what is joined with ``~``."""
        self.generic_visit(node)
        return _own("_concat", nodes.List(node.nodes))

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        """Pay for the keys."""
        self.generic_visit(node)
        return _own("_keyed", node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Pay for all sides, and for searching."""
        self.generic_visit(node)
        kinds = {operand.op for operand in node.ops}
        if not kinds & {"in", "notin"}:
            node.expr = _own("_paid", node.expr)
            for operand in node.ops:
                operand.expr = _own("_paid", operand.expr)
            return node
        if len(node.ops) > 1:
            raise RenderError(f"it chains comparisons with `in` in line {node.lineno}")
        found = _own("_contains", node.expr, node.ops[0].expr)
        return nodes.Not(found) if kinds == {"notin"} else found

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """Pay for what is sliced."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _own("_paid", node.node)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        """Print plain text the way values are printed."""
        return nodes.Const(node.data)


def _own(method: str, *values: nodes.Node) -> nodes.Expr:
    return nodes.Call(nodes.EnvironmentAttribute(method), list(values), [], None, None)
