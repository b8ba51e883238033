"""Turn hyper-parameters among a traced function's constants into an argument.

Runs that differ only in these values then share one library.
"""

from __future__ import annotations

from collections.abc import Collection

import torch


def hoist_constants(
    graph: torch.fx.GraphModule, hyper_parameters: Collection[float]
) -> list[float]:
    """Replace constants of products and quotients by entries of a new last argument, (K,).

    Constants of sums stay: the compiler would otherwise fuse product and sum differently, and round
    differently.

    Args:
        graph: changed in place.
        hyper_parameters: values to replace.

    Returns:
        The replaced values, in the order of the new argument; empty, and no argument, if there are none.

    """
    aten, nodes = torch.ops.aten, graph.graph
    binary = (aten.mul.Tensor, aten.div.Tensor)
    users = [
        node
        for node in nodes.nodes
        if node.target in binary
        and isinstance(node.args[1], float)
        and node.args[1] in hyper_parameters
    ]
    values = list(dict.fromkeys(node.args[1] for node in users))
    if not values:
        return []
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    with nodes.inserting_after(last):
        argument = nodes.placeholder("settings")
    for i, value in enumerate(values):
        with nodes.inserting_after(argument):
            entry = nodes.call_function(aten.select.int, (argument, 0, i))
        for node in users:
            if node.args[1] == value:
                node.args = (node.args[0], entry, *node.args[2:])
    graph.recompile()
    return values
