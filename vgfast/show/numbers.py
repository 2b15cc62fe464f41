"""Numbers as text: so many significant digits, times with a unit, sizes, counts, shares."""

from __future__ import annotations


def significant(value: float) -> str:
    """Three digits, or all that are before the point, and three decimals at most; of a million and more, with a
    letter.

    >>> [significant(x) for x in (0.0042, 0.1234, 1, 12.34, 1234.5, 2.5e9)]
    ['0.004', '0.123', '1.00', '12.3', '1,234', '2.5G']
    """
    if abs(value) < 0.1:
        return f"{value:.3f}"
    if abs(value) < 999.5:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:,.0f}" if abs(value) < 999_999.5 else scaled(value)


def scaled(value: float, n: int = 3) -> str:
    """So many digits at most, or all that are before the point, and a letter for the thousands.

    >>> [scaled(x) for x in (51380224, 1290, 37, 2.5e12, 4e30)], scaled(0.1667, 2), scaled(204.4, 2)
    (['51.4M', '1.29k', '37', '2.5T', '4e+30'], '0.17', '204')
    """
    if value >= 999.5e24:
        return f"{value:.0e}"
    letters = iter(" kMGTPEZY")
    letter = next(letters)
    while value >= 999.5:
        value, letter = value / 1000, next(letters)
    text = f"{value:.{n}g}" if value < 10**n - 0.5 else f"{value:.0f}"
    return (text + letter).rstrip()


def microseconds(seconds: float) -> str:
    """Three digits, or all that are before the point.

    >>> microseconds(1.234e-6), microseconds(0.001234)
    ('1.23', '1,234')
    """
    return significant(1e6 * seconds)


def milliseconds(seconds: float) -> str:
    """Three digits, or all that are before the point."""
    return significant(1e3 * seconds)


def duration(seconds: float) -> str:
    """With a unit.

    >>> duration(3.2e-7), duration(0.00123), duration(2), duration(7300), duration(4e12)
    ('0.32 us', '1.23 ms', '2 s', '2.03 h', '1.27e+05 y')
    """
    for unit, size in (("y", 31556952), ("h", 3600), ("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError


def n_bytes(n: float) -> str:
    """In the largest unit of 1024 that leaves 1 or more.

    >>> n_bytes(512), n_bytes(32768), n_bytes(1.5 * 2**20)
    ('512 B', '32 KiB', '1.5 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if n < 1024 or unit == "EiB":
            break
        n /= 1024
    return f"{n:.3g} {unit}"


def count(n: int, what: str) -> str:
    """So many of a thing.

    >>> count(1, "thread"), count(1000, "step")
    ('1 thread', '1000 steps')
    """
    return f"{n} {what}{'s' * (n != 1)}"


def percent(value: float) -> str:
    """With one decimal; less than a thousandth by its power of ten; "-" for NaN.

    >>> percent(0.1234), percent(0.00004), percent(0.0), percent(float("nan"))
    ('12.3%', '4e-05', '0.0%', '-')
    """
    return "-" if value != value else f"{value:.1%}" if value >= 0.001 or value == 0 else f"{value:.0e}"


def share(part: int, whole: int) -> str:
    """In percent, with one decimal, so that some are never shown as none and not all never as all.

    >>> share(0, 9000), share(1, 9000), share(27, 9000), share(8999, 9000), share(9000, 9000)
    ('0%', '<0.1%', '0.3%', '>99.9%', '100%')
    """
    if part in (0, whole):
        return "100%" if part else "0%"
    of = part / whole
    return "<0.1%" if of < 0.0005 else ">99.9%" if of >= 0.9995 else f"{of:.1%}"
