"""vgfast itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from vgfast import _core, config
from vgfast.bench.competitors.competitor import Competitor, make_optimizer
from vgfast.bench.team import SimulatedTeam
from vgfast.mlp import MLP
from vgfast.training.shuffle import Shuffle

_BARRIERS, _ORDERS = 20, 5


class VGFast(Competitor):
    def start(self) -> None:
        p = self.problem
        self.net = MLP(p.sizes, p.activation, init="zeros", rng=self.rng, normalization=p.normalization)
        self.net.params = self.first.params
        self.optimizer = make_optimizer(p)

    def train(self, epochs: int, threads: int | None = None, **inspection: Any) -> None:
        with config.threads(threads or config.get_num_threads()):
            self.net.fit(
                self.X,
                self.y,
                epochs=epochs,
                batch_size=self.problem.batch,
                optimizer=self.optimizer,
                **inspection,
            )

    def state_dict(self) -> dict[str, Any]:
        return self.net.state_dict()

    def layers(self) -> list[tuple[Any, Any]]:
        return list(zip(self.net.weights, self.net.biases, strict=True))

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, y, row = self.X[: self.problem.batch], self.y[: self.problem.batch], self.X[:1]
        return {
            "step_call": lambda: self.net.step(x, y, self.optimizer),
            "predict_call": lambda: self.net.predict_proba(row),
        }

    def peak(self, threads: int | None = None) -> dict[str, float]:
        """FLOP/s of multiply-adds that touch no memory."""
        return {"flops": _core.fma_peak(threads or config.get_num_threads())}

    def peak_of_one(self) -> dict[str, float]:
        """The same of one thread, by the processor time that it got, as that of ``simulate`` is."""
        busy, start = time.thread_time(), time.perf_counter()
        rate = _core.fma_peak(1)
        return {"flops": rate * (time.perf_counter() - start) / (time.thread_time() - busy)}

    def simulate(self, threads: int, seconds: float) -> dict[str, float]:
        """Seconds of a step by so many threads, each stage as long as its longest thread, without its barriers, and how
        many these are; found in about ``seconds``. In it is the step's share of drawing the epoch's order, which one
        thread does."""
        self.rewind()
        team = SimulatedTeam(self.net, self.X, self.y, self.problem.batch, self.optimizer, threads, self.rng)
        stages = team.time_stages(seconds)
        step = float(stages.max(axis=1).sum()) + self._draw_seconds() / self.problem.steps
        return {"seconds": step, "barriers": len(stages) if threads > 1 else 0}

    def _draw_seconds(self) -> float:
        """Processor time of drawing the order of an epoch: the median of some."""
        shuffle, times = Shuffle(self.rng, len(self.X)), []
        for _ in range(_ORDERS):
            start = time.thread_time()
            shuffle.draw()
            times.append(time.thread_time() - start)
        return median(times)

    def barrier(self, threads: int) -> dict[str, float]:
        """Seconds of a barrier, where nothing else keeps a thread from it: the shortest of some measurements."""
        return {"seconds": min(_core.barrier_seconds(threads) for _ in range(_BARRIERS))}

    def memory(self) -> dict[str, int]:
        """Bytes that making a net and training it for an epoch adds to the process at the most, with X in place;
        ``needed`` by parameters, activations and deltas of a batch."""
        before = _kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts again from here
        self.rewind()
        self.train(1)
        sizes, batch = self.problem.sizes, self.problem.batch
        needed = 4 * (self.net.n_params + batch * (sum(sizes) + sum(sizes[1:])))
        return {"bytes": 1024 * (_kilobytes("VmHWM") - before), "needed": needed}


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
