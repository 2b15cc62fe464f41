"""A process for each competitor, and both ends of its pipe: lines of JSON, a question and its answer."""

from __future__ import annotations

import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any

from vgfast.bench.competitors.competitor import NotHere

LIMIT = 300.0  # seconds for any answer; torch.compile takes 27 for thirty layers
LONGEST_REASON = 150  # characters

# ---- the worker's end --------------------------------------------------------------------------------


def serve(where: str) -> None:
    """Be the process of the competitor at "module:class": answer each line of input with one of output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        os._exit(0)  # whoever asked is gone: even work that hangs ends here

    threading.Thread(target=listen, daemon=True).start()
    competitor: Any = None
    while True:
        request = requests.get()
        answer: dict[str, Any] = {}
        try:
            if "problem" in request:
                competitor = None  # the memory of the last one first
                competitor = _made(where, request["problem"])
            else:
                answer = getattr(competitor, request.pop("do"))(**request)
        except ModuleNotFoundError as error:
            answer = {"missing": error.name, "failed": _one_line(error)}
        except NotHere as error:
            answer = {"not_here": True, "failed": str(error)}
        except Exception as error:
            answer = {"failed": _one_line(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _made(where: str, problem: list[Any]) -> Any:
    module, name = where.split(":")
    kind = getattr(importlib.import_module(module), name)
    return kind(kind.problem_type(*(tuple(part) if isinstance(part, list) else part for part in problem)))


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


# ---- the other end -----------------------------------------------------------------------------------


class Failed(Exception):
    """Why a competitor gave no answer, in one short line; ``missing`` is the module that it did not find, if that is
    why, and ``not_here`` says that it is the machine which lacks something."""

    def __init__(self, reason: str, missing: str | None = None, not_here: bool = False) -> None:
        super().__init__(reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 3]}...")
        self.missing, self.not_here = missing, not_here


def environment(threads: int, device: str = "cpu") -> dict[str, str]:
    """The variables of this process, but so many threads for every library, its own way of waiting for each, and no
    other device than this."""
    others = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    limits = ("VGFAST_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    # NPROC is what XLA heeds: under OMP_NUM_THREADS=1 or xla_cpu_multi_thread_eigen=false a product of matrices kept
    # 1.97 processors busy, under NPROC=1 1.00.
    kept |= dict.fromkeys((*limits, "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NPROC"), str(threads))
    kept |= {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # that one starts no more processes
    if device == "cpu":
        return kept | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    # Whatever JAX finds; nobody takes all memory of the GPU; and NVIDIA's libraries take float32 for what it is.
    return kept | {"JAX_PLATFORMS": "", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "NVIDIA_TF32_OVERRIDE": "0"}


_CODE = "import sys; sys.path[:] = sys.argv[2:]; from vgfast.bench import workers; workers.serve(sys.argv[1])"


class Worker:
    """A competitor's process, stopped unless it is asked: threads that spin for work would slow the others down."""

    def __init__(self, kind: type[Any], threads: int) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, f"{kind.__module__}:{kind.__qualname__}", *sys.path],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(threads, getattr(kind, "device", "cpu")),
            process_group=0,  # Ctrl-C goes to the asking process, which ends the worker and all that this has started
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer; ``Failed`` if there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = b""
        with suppress(BrokenPipeError):  # it has ended already
            self._signal(signal.SIGCONT)
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            if not select.select([self.process.stdout], [], [], LIMIT)[0]:
                raise Failed(f"no answer within {LIMIT:g} seconds")
            line = self.process.stdout.readline()
            self._signal(signal.SIGSTOP)
        if not line.endswith(b"\n"):
            raise Failed(self._last_words())
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"], answer.get("missing"), answer.get("not_here", False))
        return answer

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def _last_words(self) -> str:
        status = self.process.wait()
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"ended with status {status}{': ' + lines[-1] if lines else ''}"

    def close(self) -> None:
        with suppress(ProcessLookupError):  # it has ended and was waited for
            self._signal(signal.SIGKILL)
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            assert file is not None
            file.close()


class Workers:
    """The processes of the competitors, each started when it is first asked, and again after it failed."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.alive: dict[type[Any], Worker] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        while self.alive:
            self.alive.popitem()[1].close()

    def ask(self, kind: type[Any], **request: Any) -> dict[str, Any]:
        """Ask this competitor; ``Failed`` if it has no answer, and then its process has ended."""
        if kind not in self.alive:
            self.alive[kind] = Worker(kind, self.threads)
        try:
            return self.alive[kind].ask(**request)
        except Failed:
            self.alive.pop(kind).close()
            raise
