"""What ``vgfast bench`` is asked for: names that there are, and options that it takes."""

import pytest

from vgfast import cli
from vgfast.bench import inspection


def test_inspection_is_timed_on_one_net_without_competitors(capsys):
    assert cli.main(["bench", "--inspection", "--competitors", "numpy"]) == 1
    said = capsys.readouterr().err
    assert said == "vgfast: --inspection times vgfast alone, on funnel; leave out --competitors numpy\n"


def test_advice_to_leave_an_option_out_helps():
    with pytest.raises(ValueError, match="leave out --competitors numpy"):
        inspection.read_settings("numpy", None, 1, 1, True)
    assert inspection.read_settings(None, None, 1, 1, True)["rounds"] == 1


def test_unknown_names(capsys):
    assert cli.main(["bench", "--competitors", "numpy,nosuch"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("vgfast: unknown competitor 'nosuch'; there is vgfast, numpy, torch, ")
    assert "and installed is vgfast, numpy" in said
    assert cli.main(["bench", "--workloads", "dig"]) == 1
    assert "unknown workload 'dig'; did you mean 'digits'? there is tiny, " in capsys.readouterr().err
    for option in ("--rounds", "--threads"):
        assert cli.main(["bench", option, "0"]) == 1
        assert f"vgfast: {option} must be " in capsys.readouterr().err
