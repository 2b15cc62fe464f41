"""``vgfast cost``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vgfast.cli.results import add_html, check_picture, deliver


def add(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "cost",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="what each layer and phase of a training step costs, and must cost",
        description="""\
Time a training step layer by layer and phase by phase, and say what it must
take on this machine: FLOPs, the least bytes, FLOPs per byte, the time predicted
by the roofline, the time measured, what that is in GFLOP/s and GB/s, its share
of the limit, and what bounds it. Takes a few seconds; the machine's limits
are measured first (vgfast info shows them).""",
        epilog="""\
example: vgfast cost 784 256 128 10 --batch 128
  One line of its table, on two cores with AVX2:

                      least  FLOP predicted  measured GFLOP    GB    of
               FLOPs  bytes /byte        us        us    /s    /s limit bound by
   forward     51.4M   1.2M    43       297       293   175   4.1   86% compute

  Layer 1 forward, 128 x 784 times 784 x 256, is 2 x 128 x 784 x 256 = 51.4
  million operations on 1.2 MB: 43 a byte. 297 us is what the products' kernel
  would need at its best, with what threads read of each other; it took 293.
  Multiply-adds alone, 204 GFLOP/s here, would be 86% of that, and they, not
  memory, set the pace.
with a picture: vgfast cost 784 256 128 10 --batch 128 --out /tmp
too large to build: vgfast cost 1000000 1000000 10 --static
on more machines: vgfast cost 784 30 10 --workers 2,8,64 --network 10GbE""",
    )
    parser.add_argument("sizes", type=int, nargs="+", metavar="SIZE", help="inputs, hidden units, outputs")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="rows of a step (default: 32)")
    parser.add_argument("--activation", default="relu", metavar="NAME", help="of the hidden layers (default: relu)")
    parser.add_argument("--dtype", default="float32", metavar="NAME", help="float32 (default) or float64")
    parser.add_argument("--threads", type=int, metavar="N", help="at most (default: as many as vgfast would use)")
    parser.add_argument("--static", action="store_true", help="measure no step, only count and predict")
    parser.add_argument(
        "--workers",
        metavar="N[,N]",
        help="say what so many machines like this one would bring, each with as many rows, such as 2,8,64: computed, "
        "and run on one machine only; needs --network",
    )
    parser.add_argument(
        "--network", metavar="NAME", help="between them: 1GbE, 10GbE, 25GbE, InfiniBand-EDR, InfiniBand-HDR"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="save the roofline as a picture there, with --workers the efficiency, too",
    )
    add_html(parser, "a page with the roofline and the table, in DIR or here")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> None:
    from vgfast import _check, _core, config
    from vgfast.cost import report as cost
    from vgfast.files import folders

    folder = arguments.out or Path()
    if arguments.html:
        folders.check(folder, "page")
    else:
        check_picture(arguments.out, "cost")
    workers = _workers(arguments)
    batch = _check.integer("--batch", arguments.batch, 1, _check.MOST_ELEMENTS)
    threads = config.get_num_threads() if arguments.threads is None else arguments.threads
    with config.threads(_check.integer("--threads", threads, 1, _core.THREADS_MOST)):
        report = cost.report_cost(
            arguments.sizes,
            arguments.activation,
            dtype=arguments.dtype,
            batch_size=batch,
            measure=not arguments.static,
        )
    scaling = report.scale(workers, arguments.network) if workers else None
    data = {**report.to_dict(), "scaling": scaling and {**scaling.to_dict(), "picture": None}, "picture": None}

    def save() -> Path:
        if scaling:
            data["scaling"]["picture"] = str((arguments.out / "scaling.png").resolve())
            scaling.plot().savefig(data["scaling"]["picture"], dpi=150)
        picture = (arguments.out / "cost.png").resolve()
        report.plot().savefig(picture, dpi=150)
        return picture

    def show() -> None:
        print(report, *(["", scaling] if scaling else []), sep="\n")

    if arguments.html:
        data = {**report.to_dict(), "scaling": scaling and scaling.to_dict(), "page": None}
        return deliver(data, show, arguments, lambda: _save_page(report, scaling, folder), "The page", "page")
    wanted = save if arguments.out is not None else None
    deliver(data, show, arguments, wanted, "The roofline, and scaling.png beside it" if scaling else "The roofline")


def _save_page(report: Any, scaling: Any, folder: Path) -> Path:
    """Of the cost and, where that was asked for, of more machines."""
    from vgfast.cost import tables
    from vgfast.show import page
    from vgfast.show.page import data

    path, parts = (folder / "cost.html").resolve(), [data.of_cost(report)]
    if scaling is not None:
        about, table = tables.scaling_table(scaling)
        parts.append(data.table("With more machines", table._replace(notes=f"{about} {table.notes}")))
    page.save(path, data.COST_TITLE, parts)
    return path


def _workers(arguments: argparse.Namespace) -> list[int] | None:
    """Those that --workers has, before anything is measured; ValueError for what cannot be taken."""
    if arguments.workers is None and arguments.network is None:
        return None
    from vgfast import _check
    from vgfast.bench.runner import read_numbers
    from vgfast.cost import networks

    if arguments.network is None:
        raise ValueError(f"--workers needs --network, what is between them; there is {', '.join(networks.NETWORKS)}")
    networks.checked(arguments.network)
    if arguments.workers is None:
        raise ValueError("--network needs --workers, between which it is; add for example --workers 2,8,64")
    return read_numbers("--workers", arguments.workers, _check.MOST_ELEMENTS)
