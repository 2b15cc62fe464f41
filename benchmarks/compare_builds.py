"""Two builds of vgfast side by side: whether a change made it slower.

    python benchmarks/compare_builds.py COMMIT [--to HEAD] [--rounds 9] [--workloads tiny,mnist]

Each of the two commits is built in an environment of its own, in a temporary folder. Then both train the workloads of
``vgfast bench`` in turn, and do single calls; what is printed are the medians of the rounds' ratios, new over old, and
their quartiles. A round is a new process of each build, and some turns of both: where a process has its memory changes
the time of a small net by some 5 %, so that two processes say little of two builds. Which of the two comes first
changes from turn to turn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TURNS = 8  # of each build in a round
SECONDS = 0.06  # of a turn, about
CALLS = ("a step of tiny", "predict_proba of one row of tiny")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("commit", nargs="?", help="the old one")
    parser.add_argument("--to", default="HEAD", help="the new one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workloads", help="names with commas; all without")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work()
    if arguments.commit is None:
        parser.error("the old commit is missing")
    with tempfile.TemporaryDirectory() as folder:
        builds = [
            build(commit, Path(folder) / name) for name, commit in (("old", arguments.commit), ("new", arguments.to))
        ]
        compare(builds, problems(arguments.workloads), arguments.rounds)


def problems(names):
    """{what: how a worker is asked for it}"""
    from vgfast.bench.problems import INSPECTION, WORKLOADS

    known = [name for name, problem in WORKLOADS.items() if problem.plain and name != INSPECTION]
    chosen = known if names is None else names.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(f"older builds train only {', '.join(known)}; leave out {', '.join(unknown)}")
    found = {}
    for name in chosen:
        problem = WORKLOADS[name]
        found[name] = {
            "sizes": problem.sizes,
            "activation": problem.activation,
            "batch": problem.batch,
            "rows": problem.rows,
        }
    if names is None:
        found |= {what: {**found["tiny"], "call": what} for what in CALLS}
    return found


def build(commit, folder):
    """The interpreter of a new environment with this commit installed."""
    source, environment = folder / "source", folder / "environment"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    interpreter = environment / "bin" / "python"
    subprocess.run([str(interpreter), "-m", "pip", "install", "-q", str(source)], check=True)
    print(f"built {commit}", flush=True)
    return str(interpreter)


class Worker:
    """A process of one build, which is asked line by line."""

    def __init__(self, interpreter):
        command = [interpreter, __file__, "--worker"]
        folder = Path(interpreter).parent  # no vgfast lies there
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(builds, asked, rounds):
    from vgfast.cost.rounds import Measured

    print(f"{'':<34}{'old, us':>10}{'new, us':>10}  new / old (quartiles)")
    for what, problem in asked.items():
        old, new = zip(*(times_of_round(builds, problem) for _ in range(rounds)), strict=True)
        ratio = Measured.from_rounds([n / o for o, n in zip(old, new, strict=True)])
        microseconds = [1e6 * Measured.from_rounds(times).median for times in (old, new)]
        spread = f"{ratio.median:.3f} ({ratio.low:.3f}-{ratio.high:.3f})"
        print(f"{what:<34}{microseconds[0]:>10.4g}{microseconds[1]:>10.4g}  {spread}", flush=True)


def times_of_round(builds, problem):
    """Seconds a step of each build, each in a new process: the median of some turns."""
    from vgfast.cost.rounds import Measured, take_turns

    workers = [Worker(interpreter) for interpreter in builds]
    repeat = max(worker.ask(prepare=problem) for worker in workers)
    *_, took = take_turns({i: partial(worker.ask, repeat=repeat) for i, worker in enumerate(workers)}, TURNS)
    for worker in workers:
        worker.close()
    return [Measured.from_rounds(took[i]).median for i in range(len(workers))]


# ---- in a process of one build, by public names alone ---------------------------------------------------


def work():
    run = None
    for line in sys.stdin:
        question = json.loads(line)
        if "prepare" in question:
            run, answer = prepared(**question["prepare"])
        else:
            start = time.perf_counter()
            steps = run(question["repeat"])
            answer = (time.perf_counter() - start) / steps
        print(json.dumps(answer), flush=True)


def prepared(sizes, activation, batch, rows, call=None):
    """(do it so many times, which returns the number of steps; how many times last about ``SECONDS``)"""
    import numpy as np

    import vgfast as vg

    rng = np.random.default_rng(0)
    X, y = rng.random((rows, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], rows)
    net, optimizer = vg.MLP(sizes, activation, rng=0), vg.SGD(lr=0.01)

    def epochs(n):
        net.fit(X, y, n, batch, optimizer)
        return n * -(-rows // batch)

    def steps(n):
        for _ in range(n):
            net.step(X[:batch], y[:batch], optimizer)
        return n

    def rows_alone(n):
        for _ in range(n):
            net.predict_proba(X[:1])
        return n

    run = {None: epochs, CALLS[0]: steps, CALLS[1]: rows_alone}[call]
    n = 1
    while True:
        start = time.perf_counter()
        run(n)
        took = time.perf_counter() - start
        if took > SECONDS / 4:
            return run, max(1, round(n * SECONDS / took))
        n *= 2


if __name__ == "__main__":
    main()
