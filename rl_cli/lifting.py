"""Constants of a traced function as one more argument, so that runs with other values share a library."""

from __future__ import annotations

from collections.abc import Collection

import torch


def lift(graph: torch.fx.GraphModule, settings: Collection[float]) -> list[float]:
    """Make an argument (K,) of those constants that x c and x / c take from `settings`.

    Sums keep theirs: a product and a number more would be taken for a product with its bias. -> their
    values, in its order; none, and no argument, where there are none.
    """
    aten, nodes = torch.ops.aten, graph.graph
    takes_two = (aten.mul.Tensor, aten.div.Tensor)
    users = [
        node
        for node in nodes.nodes
        if node.target in takes_two and isinstance(node.args[1], float) and node.args[1] in settings
    ]
    values = list(dict.fromkeys(node.args[1] for node in users))
    if not values:
        return []
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    with nodes.inserting_after(last):
        given = nodes.placeholder("settings")
    for place, value in enumerate(values):
        with nodes.inserting_after(given):
            number = nodes.call_function(aten.select.int, (given, 0, place))
        for node in users:
            if node.args[1] == value:
                node.args = (node.args[0], number, *node.args[2:])
    graph.recompile()
    return values
