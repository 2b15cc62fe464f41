"""The command ``vgfast``. Exit status: 0 done, 1 failed with a sentence, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def _need(command: str, modules: Sequence[str], extra: str) -> None:
    """Import the modules, or end with what to install; "sklearn" is what scikit-learn is imported as."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            packages = [{"sklearn": "scikit-learn"}.get(name, name) for name in modules]
            raise SystemExit(
                f"vgfast: the {command} needs {error.name or module}, which is not installed; install "
                f"{', '.join(packages[:-1])} and {packages[-1]} with: pip install 'vgfast[{extra}]'"
            ) from None


def _demo(arguments: argparse.Namespace) -> None:
    _need("demo", ("sklearn", "rich", "matplotlib"), "demo")
    from rich.console import Console

    from vgfast import demo, plots

    plots.check_folder(arguments.out)
    result = demo.run() if arguments.json else demo.watched_run(Console(stderr=True))
    picture = demo.save_picture(result, arguments.out)
    if arguments.json:
        print(json.dumps(demo.as_json(result, picture), indent=2, allow_nan=False))
    else:
        demo.show(result, picture, Console())


def _bench(arguments: argparse.Namespace) -> None:
    _need("benchmark", ("rich", "matplotlib"), "bench")
    from rich.console import Console

    from vgfast import bench, plots
    from vgfast.children import Failed

    asked = (arguments.peers, arguments.workloads, arguments.threads, arguments.rounds, arguments.quick)
    if arguments.inspection:
        return _bench_inspection(asked, arguments.json)
    settings = bench.settings(*asked)
    plots.check_folder(arguments.out)
    try:
        result = bench.measure(**settings) if arguments.json else bench.watched(Console(stderr=True), **settings)
    except Failed as failed:  # that of a peer is shown in the table
        raise SystemExit(f"vgfast: the textbook, which tells what the loss must be, failed: {failed}") from None
    picture = bench.save_picture(result, arguments.out)
    if arguments.json:
        print(json.dumps({**result, "picture": str(picture)}, indent=2, allow_nan=False))
    else:
        bench.show(result, picture, Console())


def _bench_inspection(asked: tuple[Any, ...], as_json: bool) -> None:
    from rich.console import Console

    from vgfast import bench_inspection
    from vgfast.children import Failed

    settings = bench_inspection.settings(*asked)
    try:
        if as_json:
            result = bench_inspection.measure(**settings)
        else:
            result = bench_inspection.watched(Console(stderr=True), **settings)
    except Failed as failed:
        raise SystemExit(f"vgfast: training, which was to be timed, failed: {failed}") from None
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        bench_inspection.show(result, Console())


def _info(arguments: argparse.Namespace) -> None:
    from vgfast import config

    if arguments.json:
        print(json.dumps(config.describe(), indent=2))
    else:
        config.show_config()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vgfast",
        description="Dense networks that train fast on the CPU and tell where their gradient went.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a shallow, a deep and a cured net on digits and show their gradients",
        description="Train three nets on scikit-learn's handwritten digits: one hidden layer of sigmoids, eight, "
        "and eight of ReLUs with He's first weights. Shows accuracy, gradients by layer and a verdict, and "
        "saves a picture. Takes a few seconds. Needs the extra vgfast[demo].",
    )
    demo.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the picture goes (default: here)")
    demo.set_defaults(run=_demo)
    info = commands.add_parser("info", help="show version, instruction set and number of threads")
    info.set_defaults(run=_info)
    bench = commands.add_parser(
        "bench",
        help="time training steps beside NumPy, PyTorch, JAX and scikit-learn",
        description="Time a training step of vgfast and of each library that is installed, on seven nets from tiny to "
        "big: in turn, each in its own process, on as many threads, from the same weights, with a check that all "
        "come to the same loss. Shows medians, and what inspection, calls and memory cost; saves a picture. "
        "Takes several minutes. Needs the extra vgfast[bench], or of the libraries those to compare with.",
        epilog="example: vgfast bench --workloads digits,mnist --peers numpy,torch --threads 2 --out /tmp",
    )
    bench.add_argument("--peers", metavar="A,B", help="whom to compare with (default: all that are installed)")
    bench.add_argument("--workloads", metavar="A,B", help="which nets to train (default: all)")
    bench.add_argument(
        "--inspection",
        action="store_true",
        help="time instead what inspecting every step costs, beside what Cockpit published; takes half a minute",
    )
    bench.add_argument(
        "--rounds", type=int, metavar="N", help="turns of each on each net (default: 7; with --inspection 21)"
    )
    bench.add_argument("--threads", type=int, metavar="N", help="for each (default: as many as vgfast would use)")
    bench.add_argument("--quick", action="store_true", help="three short rounds: less exact")
    bench.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the picture goes (default: here)")
    bench.set_defaults(run=_bench)
    for command in (demo, info, bench):
        command.add_argument("--json", action="store_true", help="print data for a program instead")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        print(f"vgfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vgfast: interrupted", file=sys.stderr)
        return 130
    return 0
