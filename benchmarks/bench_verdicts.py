"""Whether verdicts come true: nets of many kinds are inspected, and then trained to the end.

    pytest benchmarks/bench_verdicts.py

Of those that stay at chance (no epoch's loss is below 9/10 of the best constant answer's), 9 in 10 should not be called
healthy; of those that learn, 9 in 10 should be. What does not come true is printed net by net.
"""

import drawn_nets
import pytest

NETS = 200


@pytest.mark.parametrize("most_rate", [0.31, 1.01], ids=["steps of 0.3 at most", "steps of 1 at most"])
@pytest.mark.benchmark(group="verdicts that come true")
def test_verdicts(benchmark, record, most_rate):
    seeds = range(1000, 1000 + NETS) if benchmark.enabled else range(3)
    found = benchmark.pedantic(drawn_nets.count, (seeds, most_rate), rounds=1)
    record(**found._asdict(), shares=found.shares)
