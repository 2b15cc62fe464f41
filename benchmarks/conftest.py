"""Stamps machine, instruction set, threads and versions into every result; and prints figures that are no times."""

import pytest

from vgfast.config import describe

FIGURES = []


@pytest.fixture(autouse=True)
def stamped(benchmark):
    benchmark.extra_info.update(describe())


@pytest.fixture
def record(benchmark, request):
    """Print a figure at the end, and keep it with the result."""

    def recorded(**figures):
        benchmark.extra_info.update(figures)
        shown = ", ".join(f"{name.replace('_', ' ')}: {as_text(value)}" for name, value in figures.items())
        FIGURES.append(f"{request.node.name}: {shown}")

    return recorded


def as_text(value):
    if isinstance(value, list):
        return " ".join(map(as_text, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def pytest_terminal_summary(terminalreporter):
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
