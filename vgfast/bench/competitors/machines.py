"""Boltzmann machines: one that learns by persistent contrastive divergence, a step of the chain a step, in the words of
each library that ``vgfast bench --pretraining`` compares.

All take the same rows in the same order, in batches of the same size, with the same rate, in float32.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vgfast import config
from vgfast.bench.problems import MachineProblem
from vgfast.pretrain import RBM, likelihood


class Machine:
    """A library with rows in memory. ``train`` is all that the clock sees. ``package`` is what the library is installed
    as, and ``module`` what it is imported as."""

    problem_type = MachineProblem
    package = module = "vgfast"

    def __init__(self, problem: MachineProblem) -> None:
        self.problem = problem
        self.X, self.held_out = problem.data()
        self.prepare()

    # ---- what each library says in its own words -----------------------------------------------------

    def prepare(self) -> None:
        """Once: data and functions."""

    def train(self, epochs: int, seed: int) -> None:
        """From new weights on."""
        raise NotImplementedError

    def parameters(self) -> tuple[Any, Any, Any]:
        """W (visible, hidden), the visible biases and the hidden ones."""
        raise NotImplementedError

    # ---- what it is asked for ------------------------------------------------------------------------

    def time(self, epochs: int) -> dict[str, float]:
        """Seconds of so many epochs, and the processors that were busy meanwhile."""
        busy, start = time.process_time(), time.perf_counter()
        self.train(epochs, seed=0)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "processors": (time.process_time() - busy) / seconds}

    def score(self, epochs: int, seed: int) -> dict[str, float]:
        """The mean pseudo-likelihood of the rows that are held out: exact, in float64, for each by this one text."""
        self.train(epochs, seed)
        W, b, c = (np.asarray(array, np.float64) for array in self.parameters())
        machine = likelihood.Machine(W, b, c, gaussian=False)
        return {"score": float(likelihood.pseudo_likelihood(machine, self.held_out.astype(np.float64)).mean())}


class VGFastMachine(Machine):
    def train(self, epochs: int, seed: int) -> None:
        p = self.problem
        self.rbm = RBM(
            p.hidden,
            learning_rate=p.lr,
            batch_size=p.batch,
            n_iter=epochs,
            persistent=True,
            shuffle=False,
            random_state=seed,
        ).fit(self.X)

    def parameters(self) -> tuple[Any, Any, Any]:
        return self.rbm.weights, self.rbm.intercept_visible_, self.rbm.intercept_hidden_


class ScikitLearnMachine(Machine):
    package, module = "scikit-learn", "sklearn"

    def prepare(self) -> None:
        from sklearn.neural_network import BernoulliRBM

        self.kind: Any = BernoulliRBM

    def train(self, epochs: int, seed: int) -> None:
        p = self.problem
        self.rbm = self.kind(p.hidden, learning_rate=p.lr, batch_size=p.batch, n_iter=epochs, random_state=seed).fit(
            self.X
        )

    def parameters(self) -> tuple[Any, Any, Any]:
        return self.rbm.components_.T, self.rbm.intercept_visible_, self.rbm.intercept_hidden_


class TorchMachine(Machine):
    """As it is written in PyTorch, with updates in place and without gradients."""

    package = module = "torch"

    def prepare(self) -> None:
        import torch

        self.torch: Any = torch
        torch.set_num_threads(config.get_num_threads())
        self.X_ = torch.from_numpy(self.X)

    def train(self, epochs: int, seed: int) -> None:
        torch, p = self.torch, self.problem
        torch.manual_seed(seed)
        m, n = self.X.shape[1], p.hidden
        W = 0.01 * torch.randn(m, n)
        b, c, h = torch.zeros(m), torch.zeros(n), torch.zeros(p.batch, n)
        rate = p.lr / p.batch
        with torch.no_grad():
            for _ in range(epochs):
                for data in self.X_.split(p.batch):
                    of_data = torch.addmm(c, data, W).sigmoid_()
                    v = torch.addmm(b, h, W.T).sigmoid_().bernoulli()
                    of_v = torch.addmm(c, v, W).sigmoid_()
                    W.addmm_(data.T, of_data, alpha=rate).addmm_(v.T, of_v, alpha=-rate)
                    b.add_((data - v).sum(0), alpha=rate)
                    c.add_((of_data - of_v).sum(0), alpha=rate)
                    h = of_v.bernoulli()
        self.W, self.b, self.c = W, b, c

    def parameters(self) -> tuple[Any, Any, Any]:
        return self.W.numpy(), self.b.numpy(), self.c.numpy()


MACHINES: dict[str, type[Machine]] = {"vgfast": VGFastMachine, "sklearn": ScikitLearnMachine, "torch": TorchMachine}
