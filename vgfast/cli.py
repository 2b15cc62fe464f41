"""The command ``vgfast``. Exit status: 0 done, 1 failed with a sentence, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def _need(command: str, modules: Sequence[str], extra: str) -> None:
    """Import the modules, or end with what to install."""
    from vgfast.history import PACKAGES

    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            packages = [PACKAGES.get(name, name) for name in modules]
            listed = " and ".join(part for part in (", ".join(packages[:-1]), packages[-1]) if part)
            raise SystemExit(
                f"vgfast: the {command} needs {error.name or module}, which is not installed; install "
                f"{listed} with: pip install 'vgfast[{extra}]'"
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
    from vgfast import config, machine

    limits = machine.limits(arguments.refresh)
    if arguments.json:
        print(json.dumps({**config.describe(), "limits": limits.to_dict()}, indent=2))
    else:
        config.show_config()
        print("", *machine.lines(limits), sep="\n")


def _check_picture(folder: Path | None, command: str) -> None:
    """Before the work is done, that its picture can be."""
    if folder is not None:
        _need(f"picture of {command}", ("matplotlib",), "demo")
        from vgfast import plots

        plots.check_folder(folder)


def _cost(arguments: argparse.Namespace) -> None:
    from vgfast import config, cost

    _check_picture(arguments.out, "cost")
    threads = config.get_num_threads() if arguments.threads is None else arguments.threads
    with config.threads(threads):
        report = cost.of_sizes(
            arguments.sizes,
            arguments.activation,
            dtype=arguments.dtype,
            batch_size=arguments.batch,
            measure=not arguments.static,
        )
    picture = None
    if arguments.out is not None:
        picture = (arguments.out / "cost.png").resolve()
        report.plot().savefig(picture, dpi=150)
    if arguments.json:
        print(json.dumps({**report.to_dict(), "picture": picture and str(picture)}, indent=2, allow_nan=False))
    else:
        print(report, *([f"The roofline: {picture}"] if picture else []), sep="\n")


def _ladder(arguments: argparse.Namespace) -> None:
    from vgfast import ladder

    problem = ladder.settings(arguments.sizes, arguments.batch)
    _check_picture(arguments.out, "the ladder")
    if not arguments.json:
        print(*ladder.heading(problem), sep="\n", flush=True)

    def show(rung: dict[str, Any]) -> None:
        if not arguments.json:
            print(*ladder.rung_lines(rung), sep="\n", flush=True)

    result = ladder.measure(problem, show)
    picture = None
    if arguments.out is not None and any(rung["available"] for rung in result["rungs"]):
        picture = ladder.save_picture(result, arguments.out)
    if arguments.json:
        print(json.dumps({**result, "picture": picture and str(picture)}, indent=2, allow_nan=False))
    else:
        print("", *ladder.summary(result), *([f"The picture: {picture}"] if picture else []), sep="\n")
    ladder.check(result)


def _lesson(arguments: argparse.Namespace) -> None:
    from vgfast import lessons

    if arguments.name is None:
        return _list({name: lessons.module(name).TITLE for name in lessons.NAMES}, arguments.json, "lesson")
    lessons.module(arguments.name)
    _need("lesson", ("rich", "matplotlib", *lessons.NEEDS[arguments.name]), "lessons")
    from rich.console import Console

    from vgfast import plots
    from vgfast.log import plain

    plots.check_folder(arguments.out)
    console, picture = Console(), lessons.picture_of(arguments.name, arguments.out)
    if not arguments.json:
        lessons.begin(arguments.name, console)
    result = lessons.run(arguments.name, arguments.quick)
    if arguments.json:
        print(json.dumps({**plain(result), "picture": str(picture)}, indent=2, allow_nan=False))
    else:
        lessons.end(result, console)
    lessons.save(result, picture)  # last, as a folder that is full takes nothing from what was told
    if not arguments.json:
        console.print(f"The picture: {picture}", soft_wrap=True, highlight=False)
    if not result["holds"]:
        raise ValueError(f"what lesson {arguments.name} claims did not come out here; the sentences above say what did")


def _reproduce(arguments: argparse.Namespace) -> None:
    from vgfast import published

    if arguments.name is None:
        return _list({name: published.module(name).TITLE for name in published.NAMES}, arguments.json, "reproduce")
    published.check(arguments.name, arguments.mnist)
    _need("reproduction", ("rich",), "lessons")
    from rich.console import Console

    console = Console(stderr=arguments.json)
    if not arguments.json:
        published.begin(arguments.name, console)

    def tell(now: Any) -> None:
        if sys.stderr.isatty():
            print(f"\r{now.iterations:,} iterations, validation {now.valid:.2%} wrong", end="", file=sys.stderr)

    try:
        result = published.run(arguments.name, arguments.quick, arguments.mnist, tell)
    except ImportError as error:  # of a package with data, where no files stand in for it
        raise SystemExit(f"vgfast: {error}") from None
    if arguments.json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        published.end(result, console)
    if not result["holds"]:
        raise ValueError(f"not all that was published for {arguments.name} came out here")


def _list(titles: dict[str, str], as_json: bool, command: str) -> None:
    """A name and its title each, 80 columns wide."""
    if as_json:
        print(json.dumps(titles, indent=2))
        return
    widest = max(map(len, titles)) + 2
    for name, title in titles.items():
        print(*textwrap.wrap(f"{name:<{widest}}{title}", 80, subsequent_indent=" " * widest), sep="\n")
    print(f"\nRun one with: vgfast {command} NAME")


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
    info = commands.add_parser(
        "info",
        help="show version, instruction set, threads, and what this machine can do at best",
        description="Show version, instruction set and number of threads, and what this machine can do at best: "
        "multiply-adds by instruction set, type and threads, the product of a layer, activations, bytes to and from "
        "each cache and memory, and what it costs threads to meet. Measured in about two seconds, with its spread, and "
        "kept until the machine starts again.",
    )
    info.add_argument("--refresh", action="store_true", help="measure again")
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
    cost = _add_cost(commands)
    ladder = _add_ladder(commands)
    lesson, reproduce = _add_lesson(commands), _add_reproduce(commands)
    for command in (demo, info, bench, cost, ladder, lesson, reproduce):
        command.add_argument("--json", action="store_true", help="print data for a program instead")
    return parser


def _add_cost(commands: Any) -> argparse.ArgumentParser:
    cost = commands.add_parser(
        "cost",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="what each layer and phase of a training step costs, and must cost",
        description="""\
Time a training step layer by layer and phase by phase, beside what it must take
on this machine: FLOPs, the least bytes, FLOPs per byte, the time predicted by
the roofline, the time measured, what that is in GFLOP/s and GB/s, its share of
the limit, and what bounds it. Takes a few seconds; the limits of the machine
are measured first (vgfast info shows them).""",
        epilog="""\
example: vgfast cost 784 256 128 10 --batch 128
  One line of its table, on two cores with AVX2:

                      least  FLOP predicted  measured GFLOP    GB    of
               FLOPs  bytes /byte        µs        µs    /s    /s limit bound by
   forward     51.4M   1.2M    43       297       293   175   4.1   86% compute

  Layer 1 forward, 128 x 784 times 784 x 256, is 2 x 128 x 784 x 256 = 51.4
  million operations on 1.2 MB: 43 a byte. 297 µs is what the products' kernel
  would need at its best, with what threads read of each other; it took 293.
  Multiply-adds alone, 204 GFLOP/s here, would be 86% of that, and they, not
  memory, set the pace.
with a picture: vgfast cost 784 256 128 10 --batch 128 --out /tmp
too large to build: vgfast cost 1000000 1000000 10 --static""",
    )
    cost.add_argument("sizes", type=int, nargs="+", metavar="SIZE", help="inputs, hidden units, outputs")
    cost.add_argument("--batch", type=int, default=32, metavar="N", help="rows of a step (default: 32)")
    cost.add_argument("--activation", default="relu", metavar="NAME", help="of the hidden layers (default: relu)")
    cost.add_argument("--dtype", default="float32", metavar="NAME", help="float32 (default) or float64")
    cost.add_argument("--threads", type=int, metavar="N", help="at most (default: as many as vgfast would use)")
    cost.add_argument("--static", action="store_true", help="measure no step, only count and predict")
    cost.add_argument("--out", type=Path, metavar="DIR", help="save the roofline as a picture there")
    cost.set_defaults(run=_cost)
    return cost


def _add_ladder(commands: Any) -> argparse.ArgumentParser:
    ladder = commands.add_parser(
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
    ladder.add_argument(
        "--sizes", type=int, nargs="+", metavar="SIZE", help="inputs, hidden units, outputs (default: 784 256 128 10)"
    )
    ladder.add_argument("--batch", type=int, metavar="N", help="rows of a step (default: 128)")
    ladder.add_argument("--out", type=Path, metavar="DIR", help="save a picture there")
    ladder.set_defaults(run=_ladder)
    return ladder


def _add_lesson(commands: Any) -> argparse.ArgumentParser:
    lesson = commands.add_parser(
        "lesson",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="see on real data what is said of vanishing and exploding gradients",
        description="""\
Run a lesson: what is claimed of vanishing and exploding gradients, what we do,
what you should see, and then what you did see, in sentences with their numbers,
a table and a picture. Without a NAME: the list. Each takes less than a minute.
Needs the extra vgfast[lessons].""",
        epilog="""\
example: vgfast lesson vanishing --out pictures
  sends images back through nets of 1 to 12 hidden layers of sigmoids, and shows
  what is left of the gradient at each layer, beside what theory says: 0.2 of it
  a layer. The picture is pictures/lesson-vanishing.png.""",
    )
    lesson.add_argument("name", nargs="?", metavar="NAME", help="which lesson (default: list them)")
    lesson.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="picture's folder (default: here)")
    lesson.add_argument("--quick", action="store_true", help="less of everything, in some seconds")
    lesson.set_defaults(run=_lesson)
    return lesson


def _add_reproduce(commands: Any) -> argparse.ArgumentParser:
    reproduce = commands.add_parser(
        "reproduce",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="published numbers beside those that come out here",
        description="""\
Compute again what others have published: their number, ours, over many seeds
where theirs had none, and whether it holds. Without a NAME: the list. Needs the
extra vgfast[lessons]; two need the files of MNIST, too.""",
        epilog="""\
example: vgfast reproduce nielsen-speed
  draws Nielsen's three nets anew 400 times, and shows for each layer his speed
  of learning beside what 90 % of ours have.
with files: vgfast reproduce softmax-regression --mnist DIR""",
    )
    reproduce.add_argument("name", nargs="?", metavar="NAME", help="which result (default: list them)")
    reproduce.add_argument("--mnist", type=Path, metavar="DIR", help="where the IDX files of MNIST are, gzipped or not")
    reproduce.add_argument("--quick", action="store_true", help="fewer seeds and epochs, in some seconds")
    reproduce.set_defaults(run=_reproduce)
    return reproduce


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
    except MemoryError as error:
        print(f"vgfast: there is not enough memory for this; take a smaller net or batch ({error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vgfast: interrupted", file=sys.stderr)
        return 130
    return 0
