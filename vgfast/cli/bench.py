"""``vgfast bench``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vgfast.cli.results import deliver, given, need
from vgfast.cli.streams import console


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "bench",
        help="time training steps of vgfast, NumPy, PyTorch, JAX and scikit-learn",
        description="Time a training step of vgfast and of each library that is installed, on fifteen nets from small "
        "to large, three of them with Adam, too, and one with batch norm: in turn, each in its own process, on as many "
        "threads, from the same weights, with a check that all come to the same loss; PyTorch and JAX on a GPU, too, "
        "where there is one. Shows medians, a row as soon as a net is done, and what inspection, calls and memory "
        "cost; saves a picture. Ctrl-C leaves what has been measured. Takes many minutes. Needs the extra "
        "vgfast[bench], or of the libraries those to compare with.",
        epilog="example: vgfast bench --workloads digits,mnist --competitors numpy,torch --threads 2 --out /tmp",
    )
    parser.add_argument("--competitors", metavar="A,B", help="whom to compare with (default: all that are installed)")
    parser.add_argument("--workloads", metavar="A,B", help="which nets to train (default: all)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--inspection",
        action="store_true",
        help="time instead what inspecting every step costs, and compare what Cockpit published; takes half a minute",
    )
    instead.add_argument(
        "--pretraining",
        action="store_true",
        help="time instead a step of Boltzmann machines, beside scikit-learn's BernoulliRBM and PyTorch, and show what "
        "each has learned; takes some minutes",
    )
    instead.add_argument(
        "--simulate",
        metavar="N[,N]",
        help="show instead what a step would take with so many threads, such as 16,64, on a machine with processors "
        "for them: here they run one after the other; vgfast alone; takes some minutes",
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="turns of each on each net (default: 7; with --inspection 21)"
    )
    parser.add_argument(
        "--threads",
        metavar="N[,N]",
        help="for each (default: as many as vgfast would use); several numbers, such as 1,2,4, time vgfast alone, "
        "with each of them in turn",
    )
    parser.add_argument("--quick", action="store_true", help="three short rounds: less exact")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="end after about so long, with what there is by then"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the picture goes (default: here)"
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    need("benchmark", ("rich", "sklearn") if arguments.pretraining else ("rich", "matplotlib"), "bench")
    from vgfast.bench.workers import Failed

    way = _inspection if arguments.inspection else _pretraining if arguments.pretraining else None
    if way is None and arguments.simulate is not None:
        way = _simulation
    if way is None:
        way = _scaling if "," in (arguments.threads or "") else _steps
    try:
        way(arguments)
    except Failed as failed:  # that of a competitor is shown in the table
        timed, textbook = "training, which was to be timed,", "the textbook, which says what the loss must be,"
        what = textbook if way is _steps else timed
        raise SystemExit(f"vgfast: {what} failed: {failed}") from None


def _asked(arguments: argparse.Namespace) -> tuple[Any, ...]:
    return tuple(
        getattr(arguments, name) for name in ("competitors", "workloads", "threads", "rounds", "quick", "minutes")
    )


def _steps(arguments: argparse.Namespace) -> None:
    from vgfast.bench import comparison, tables
    from vgfast.files import folders

    settings, out = comparison.read_settings(*_asked(arguments)), arguments.out
    folders.check(out)
    rows = tables.Steps(console())
    _row_by_row(arguments, comparison, settings, rows, tables.show, lambda found: comparison.save_picture(found, out))


def _scaling(arguments: argparse.Namespace) -> None:
    from vgfast.bench import scaling

    settings = scaling.read_settings(*_asked(arguments))
    _row_by_row(arguments, scaling, settings, scaling.Rows(console()), scaling.show)


def _simulation(arguments: argparse.Namespace) -> None:
    from vgfast.bench import simulation

    settings = simulation.read_settings(arguments.simulate, *_asked(arguments))
    _row_by_row(arguments, simulation, settings, simulation.Rows(console()), simulation.show)


def _row_by_row(
    arguments: argparse.Namespace,
    measurement: Any,
    settings: dict[str, Any],
    rows: Any,
    show: Callable[[dict[str, Any], Any], None],
    save: Callable[[dict[str, Any]], Path] | None = None,
) -> None:
    """A measurement whose ``rows`` are shown as soon as they are there; ``show`` shows what then is left; ``save``
    draws the picture, where there is one."""
    from vgfast.bench import runner
    from vgfast.show.progress import Bar

    so_far: dict[str, Any] = {}
    picture = () if save is None else (lambda: save(so_far), "Time over vgfast's, by workload")

    def give() -> None:
        deliver(so_far, lambda: show(so_far, rows), arguments, *picture)

    with given(so_far, give), Bar(console(stderr=True), measurement.count_turns(settings), arguments.json) as bar:

        def each(found: dict[str, Any]) -> None:
            so_far.update(found, **({} if save is None else {"picture": None}))
            if not arguments.json:
                with bar.aside():
                    rows.show(found)

        so_far.update(runner.run(measurement.measure, **settings, progress=bar.turn, each=each))


def _inspection(arguments: argparse.Namespace) -> None:
    from vgfast.bench import inspection

    _at_once(arguments, inspection)


def _pretraining(arguments: argparse.Namespace) -> None:
    from vgfast.bench import pretraining

    _at_once(arguments, pretraining)


def _at_once(arguments: argparse.Namespace, measurement: Any) -> None:
    """A measurement without a picture, which is shown when it is done."""
    from vgfast.bench import runner
    from vgfast.show.progress import Bar

    settings = measurement.read_settings(*_asked(arguments))
    so_far: dict[str, Any] = {}

    def give() -> None:
        deliver(so_far, lambda: measurement.show(so_far, console()), arguments)

    with given(so_far, give), Bar(console(stderr=True), measurement.count_turns(settings), arguments.json) as bar:
        so_far.update(runner.run(measurement.measure, **settings, progress=bar.turn, each=so_far.update))
