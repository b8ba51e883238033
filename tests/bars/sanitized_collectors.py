"""Runs forged states on C code built with AddressSanitizer; started by test_b05_sanitized.py as a process.

Arguments: number of forged states of each kind of run; or "outside" to write outside a buffer, which must end
the process.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from rl_cli.engine import build_cache

FLAGS = (
    *("-O1", "-g", "-fno-omit-frame-pointer", "-fopenmp-simd", "-shared", "-fPIC"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
)


def main(argument: str) -> None:
    build_cache.FLAGS = FLAGS
    from tests.bars.forged_states import RUNS, Forgery

    if argument == "outside":
        forgery = Forgery("uniform")
        forgery.loop.collector.loop.capacity = 10_000  # the buffer has 150 rows
        forgery.loop.algo.buffer.position = 5_000
        forgery.loop.run(forgery.loop.step + 50)
        return
    total: Counter[str] = Counter()
    for name in RUNS:
        forgery, rng = Forgery(name), random.Random(f"sanitized {name}")
        for place, how in rng.sample(list(forgery.leaves()), int(argument)):
            total[forgery.outcome(forgery.forged(place, how))] += 1
    print(dict(total), sum(total.values()))


if __name__ == "__main__":
    main(sys.argv[1])
