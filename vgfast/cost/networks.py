"""Networks between machines, as the model of ``vgfast.cost.scaling`` takes them: a bandwidth and a latency.

Bandwidths are bytes a second of large messages one way, latencies half of the way of a small message there and back.
What nobody has measured for us is assumed: 93 % of the line rate, which is what Gigabit Ethernet and InfiniBand EDR
were measured to reach, and for TCP the latency of Gigabit Ethernet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vgfast import _check


@dataclass(frozen=True)
class Network:
    """``bandwidth`` in bytes a second, ``latency`` in seconds a message, ``source``: who measured or assumed them."""

    name: str
    bandwidth: float
    latency: float
    source: str


_BENCHMARKS = "measured by OSU's benchmarks, gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209"
_HBV2 = "measured by OSU's benchmarks on Azure HBv2, techcommunity.microsoft.com, blog post 1012813"
_ASSUMED = "assumed: 93% of the line rate, the latency of 1GbE"

NETWORKS = {
    network.name: network
    for network in (
        Network("1GbE", 116e6, 25e-6, _BENCHMARKS),
        Network("10GbE", 0.93 * 10e9 / 8, 25e-6, _ASSUMED),
        Network("25GbE", 0.93 * 25e9 / 8, 25e-6, _ASSUMED),
        Network("InfiniBand-EDR", 11.6e9, 0.9e-6, _BENCHMARKS),
        Network("InfiniBand-HDR", 23.5e9, 1.6e-6, _HBV2),
    )
}


def checked(network: Any = None, bandwidth: Any = None, latency: Any = None) -> Network:
    """The network of this name, or else of this bandwidth and latency.

    ValueError for an unknown name, for both and for neither; of numbers also TypeError.

    >>> checked("10GbE").bandwidth, checked(bandwidth=1e9, latency=1e-6).name
    (1162500000.0, 'a network')
    """
    numbers = {"bandwidth": bandwidth, "latency": latency}
    given = [name for name, value in numbers.items() if value is not None]
    if network is not None and given:
        raise ValueError(
            f"network={_check.quote(network)} has a bandwidth and a latency of its own, and {' and '.join(given)} came "
            "beside it; leave out one or the other"
        )
    if network is not None:
        return NETWORKS[_check.choice("network", network, tuple(NETWORKS))]
    if not given:
        names = ", ".join(NETWORKS)
        raise ValueError(f"no network was given; name one, or give bandwidth and latency; there is {names}")
    if len(given) == 1:
        (missing,) = numbers.keys() - given
        example = {"bandwidth": "bandwidth=1e9, in bytes a second", "latency": "latency=25e-6, in seconds"}[missing]
        raise ValueError(f"{given[0]} was given without {missing}, and a network has both; add for example {example}")
    return Network(
        "a network",
        _check.real("bandwidth, in bytes a second,", bandwidth, 1.0),
        _check.real("latency, in seconds,", latency, 0.0, below=3600.0),
        "as given",
    )
