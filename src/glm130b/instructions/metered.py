# ruff: noqa: N802
"""Where in a template the budget is paid that Jinja leaves no other place for."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer


class Metered(NodeTransformer):
    """Sends loops, concatenations, comparisons, slices and printed text through the sandbox's own filters."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Count the turns."""
        node.iter = _filter(node.iter, "_steps")
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Pay for what is joined with ``~``."""
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes), "_concat")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Pay for both sides."""
        self.generic_visit(node)
        node.expr = _filter(node.expr, "_paid")
        for operand in node.ops:
            operand.expr = _filter(operand.expr, "_paid")
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """Pay for what is sliced."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, "_paid")
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        """Print plain text the way values are printed."""
        return nodes.Const(node.data)


def _filter(value: nodes.Node, name: str) -> nodes.Expr:
    return nodes.Filter(value, name, [], [], None, None)
