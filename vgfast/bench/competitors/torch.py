"""PyTorch, step by step and compiled, and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from vgfast import config
from vgfast.bench.competitors.competitor import Competitor, NotHere
from vgfast.bench.problems import Problem

_LAYERS_IN_ONE_TEXT = 50


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()


class Torch(Competitor):
    """The usual loop."""

    package = module = "torch"

    def prepare(self) -> None:
        import torch

        self.torch: Any = torch
        torch.set_num_threads(config.get_num_threads())
        activation = {"tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}
        modules: list[Any] = []
        p = self.problem
        for m, n in pairwise(p.sizes[:-1]):
            norm = [torch.nn.BatchNorm1d(n)] if p.batch_norm else []
            modules += [torch.nn.Linear(m, n, bias=not norm), *norm, activation[p.activation]()]
        modules.append(torch.nn.Linear(p.sizes[-2], p.sizes[-1]))
        self.net: Any = torch.nn.Sequential(*modules).to(self.device)
        self.linear = [module for module in self.net if isinstance(module, torch.nn.Linear)]
        self.batch_norms = [module for module in self.net if isinstance(module, torch.nn.BatchNorm1d)]
        self.criterion = torch.nn.CrossEntropyLoss()
        rule = torch.optim.Adam if p.optimizer == "adam" else torch.optim.SGD
        self.optimizer = rule(self.net.parameters(), lr=p.lr)  # foreach and fused are no quicker on a CPU
        self.X_, self.y_ = (torch.from_numpy(array).to(self.device) for array in (self.X, self.y))

    def start(self) -> None:
        with self.torch.no_grad():
            for layer, weights, biases in zip(self.linear, self.first.weights, self.first.biases, strict=True):
                layer.weight.copy_(self.torch.from_numpy(weights.T))
                if layer.bias is not None:
                    layer.bias.copy_(self.torch.from_numpy(biases))
            for norm in self.batch_norms:
                norm.reset_parameters()
        self.optimizer.state.clear()

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for rows in self.batches():
                rows_ = self.torch.from_numpy(rows)
                self.step(self.X_[rows_], self.y_[rows_])

    def step(self, x: Any, y: Any) -> None:
        self.optimizer.zero_grad()
        self.criterion(self.net(x), y).backward()
        self.optimizer.step()

    def layers(self) -> list[tuple[Any, Any]]:
        biases: list[Any] = [layer.bias for layer in self.linear]  # None before a batch norm, whatever the hints say
        arrays = [None if bias is None else _array(bias) for bias in biases]
        return [(_array(layer.weight).T, bias) for layer, bias in zip(self.linear, arrays, strict=True)]

    def norms(self) -> list[tuple[Any, Any, Any, Any]]:
        tensors = ((norm.weight, norm.bias, norm.running_mean, norm.running_var) for norm in self.batch_norms)
        return [(_array(gain), _array(shift), _array(mean), _array(var)) for gain, shift, mean, var in tensors]

    def calls(self) -> dict[str, Callable[[], Any]]:
        x, y, row = self.X_[: self.problem.batch], self.y_[: self.problem.batch], self.X_[:1]

        def predict() -> Any:
            with self.torch.inference_mode():
                return self.net(row).softmax(1)

        return {"step_call": lambda: self.step(x, y), "predict_call": predict}


class TorchCompile(Torch):
    """Gather, forward, backward and update compiled as one graph."""

    def prepare(self) -> None:
        super().prepare()
        torch = self.torch
        self.parameters, self.running = dict(self.net.named_parameters()), dict(self.net.named_buffers())
        self.averages = {name: [torch.zeros_like(of), torch.zeros_like(of)] for name, of in self.parameters.items()}
        lr, adam = self.problem.lr, self.problem.optimizer == "adam"

        def loss(parameters: Any, running: Any, x: Any, y: Any) -> Any:
            running = {name: of.clone() for name, of in running.items()}
            return self.criterion(torch.func.functional_call(self.net, (parameters, running), (x,)), y), running

        def step(parameters: Any, averages: Any, running: Any, X: Any, y: Any, rows: Any, corrections: Any) -> None:
            gradients, renewed = torch.func.grad(loss, has_aux=True)(parameters, running, X[rows], y[rows])
            for name, parameter in parameters.items():
                if adam:
                    m, v = averages[name]
                    m.lerp_(gradients[name], 0.1)
                    v.mul_(0.999).addcmul_(gradients[name], gradients[name], value=0.001)
                    parameter.sub_(lr * (m / corrections[0]) / ((v / corrections[1]).sqrt() + 1e-8))
                else:
                    parameter.sub_(gradients[name], alpha=lr)
            for name, of in running.items():
                of.copy_(renewed[name])

        torch.compiler.reset()  # of one function, nets of other sizes included, it would keep eight at most
        # Called through C++, a step on a tiny net takes 78 instead of 100 microseconds. That is one text of all layers:
        # of 200, g++ had not compiled it after 250 s; otherwise it has one text for all layers that are alike.
        options = {"cpp_wrapper": len(self.problem.sizes) <= _LAYERS_IN_ONE_TEXT}
        self.compiled = torch.compile(step, fullgraph=True, dynamic=False, options=options)

    def start(self) -> None:
        super().start()
        self.steps = 0
        for averages in self.averages.values():
            for of in averages:
                of.zero_()

    def train(self, epochs: int) -> None:
        state = self.parameters, self.averages, self.running
        with self.torch.no_grad():
            for _ in range(epochs):
                for rows in self.batches():
                    self.steps += 1
                    corrections = self.torch.tensor([1 - 0.9**self.steps, 1 - 0.999**self.steps])
                    rows_ = self.torch.from_numpy(rows)
                    self.compiled(*state, self.X_, self.y_, rows_, corrections)


class TorchCuda(Torch):
    """On a GPU: a step becomes a CUDA graph, which is launched as a whole."""

    device = "cuda"

    @classmethod
    def takes(cls, problem: Problem) -> bool:
        """A graph would keep Adam's first bias corrections."""
        return problem.plain

    def prepare(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise NotHere(f"PyTorch {torch.__version__} finds no GPU")
        # float32 as on the CPU, and not TF32, which rounds what it multiplies to 11 bits.
        torch.set_float32_matmul_precision("highest")
        super().prepare()
        self.rows = torch.zeros(self.problem.batch, dtype=torch.int64, device=self.device)
        self.launch = self.capture(lambda: self.step(self.X_[self.rows], self.y_[self.rows]))

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """The graph of a step that always reads and writes the same memory: a call has it done again."""
        cuda = self.torch.cuda
        apart = cuda.Stream()
        apart.wait_stream(cuda.current_stream())
        with cuda.stream(apart):  # first calls choose kernels and take memory, which must not be part of the graph
            for _ in range(3):
                step()
        cuda.current_stream().wait_stream(apart)
        self.optimizer.zero_grad()  # so that the graph has gradients of its own
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            step()
        launch: Callable[[], None] = graph.replay
        return launch

    def wait(self) -> None:
        self.torch.cuda.synchronize()

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order = self.torch.from_numpy(self.rng.permutation(self.problem.rows)).to(self.device)
            for rows in order.split(self.problem.batch):
                self.rows.copy_(rows)
                self.launch()
        self.wait()

    def name_device(self) -> str:
        return str(self.torch.cuda.get_device_name())
