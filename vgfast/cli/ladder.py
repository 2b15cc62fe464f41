"""``vgfast ladder``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vgfast.cli.results import check_picture, deliver, given


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "ladder",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="the same training step from loops in Python to all that C can do, rung by rung",
        description="""\
Climb from a training step in Python loops, by NumPy, plain C, SIMD, blocking
and whole runs in C, to threads: the time of a step on each rung, how many times
as fast as the last and the first, GFLOP/s, the share of the processor's peak,
and why, with the file where it can be read. All rungs take the same steps and
must end at the same weights. About half a minute.""",
        epilog="""\
example: vgfast ladder --sizes 64 128 64 10 --batch 64 --out /tmp
  climbs with a smaller net, in 20 seconds, and saves a picture. A rung says,
  for example,

                                  a step   x last   x first   GFLOP/s  of peak
  + SIMD: AVX2                   13.1 ms     7.79       729      9.81     4.8%

  that with vectors a step takes 13.1 ms: 7.79 times as fast as plain C on the
  rung before, 729 times as fast as loops in Python, and still 4.8% of the peak.""",
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", metavar="SIZE", help="inputs, hidden units, outputs (default: 784 256 128 10)"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="rows of a step (default: 128)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="save a picture there")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast.bench import ladder, ladder_text

    problem = ladder.read_settings(arguments.sizes, arguments.batch)
    check_picture(arguments.out, "the ladder")
    so_far: dict[str, Any] = {}

    def each(found: dict[str, Any]) -> None:
        so_far.update(found, picture=None)
        if not arguments.json:
            print(*ladder_text.rung_lines(found["rungs"][-1]), sep="\n", flush=True)

    def give() -> None:
        drawn = arguments.out is not None and any(rung["available"] for rung in so_far["rungs"])
        save = (lambda: ladder.save_picture(so_far, arguments.out)) if drawn else None
        deliver(so_far, lambda: print("", *ladder_text.summary(so_far), sep="\n"), arguments, save)

    if not arguments.json:
        print(*ladder_text.heading(problem), sep="\n", flush=True)
    with given(so_far, give):
        so_far.update(ladder.measure(problem, each))
    ladder.check(so_far)
