"""What ``vgfast bench`` is asked for: names that there are, and options that it takes; and what is advised works."""

import shlex

import pytest

from vgfast import cli
from vgfast.bench import comparison, inspection, pretraining
from vgfast.cli import bench


def settings(measurement, typed):
    """What is measured, of a command line."""
    return measurement.read_settings(*bench._asked(cli._parser().parse_args(["bench", *typed])))


def test_inspection_is_timed_on_one_net_without_competitors(capsys):
    assert cli.main(["bench", "--inspection", "--competitors", "numpy"]) == 1
    said = capsys.readouterr().err
    assert said == "vgfast: --inspection times vgfast alone, on funnel; leave out --competitors numpy\n"


@pytest.mark.parametrize(("measurement", "option"), [(inspection, "--inspection"), (pretraining, "--pretraining")])
@pytest.mark.parametrize("given", ["--competitors numpy", "--workloads 'tiny, big'", "--competitors x --workloads y"])
def test_what_is_to_be_left_out_is_left_out(measurement, option, given):
    """The words themselves, all at once."""
    typed = [option, *shlex.split(given), "--quick"]
    with pytest.raises(ValueError, match=f"^{option} times vgfast") as caught:
        settings(measurement, typed)
    words = shlex.split(str(caught.value).partition("; leave out ")[2])
    assert words == shlex.split(given)
    left = [word for word in typed if word not in words]
    assert settings(measurement, left) == settings(measurement, [option, "--quick"])


def test_unknown_names(capsys):
    assert cli.main(["bench", "--competitors", "numpy,nosuch"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("vgfast: unknown competitor 'nosuch'; there is vgfast, numpy, torch, ")
    assert "and installed is vgfast, numpy" in said
    assert cli.main(["bench", "--workloads", "dig"]) == 1
    assert "unknown workload 'dig'; did you mean 'digits'? there is b1, tiny, " in capsys.readouterr().err
    assert settings(comparison, ["--workloads", "digits, tiny"])["workloads"] == ["digits", "tiny"]
