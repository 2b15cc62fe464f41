"""``vgfast bench`` in this process, on nets that are quick with the fixture ``quick_nets``."""

from vgfast import cli
from vgfast.cost import rounds

QUICK = ["bench", "--quick", "--rounds", "1", "--threads", "1"]
THREE = [*QUICK, "--workloads", "tiny,digits,mnist", "--competitors", "vgfast"]


def run_here(monkeypatch, capsys, tmp_path, *arguments):
    """Exit status, stdout and stderr of the command in this process."""
    monkeypatch.chdir(tmp_path)
    status = cli.main(arguments)
    return (status, *capsys.readouterr())


class Clock:
    """That of ``bench``, which jumps when it has been looked at so often."""

    def __init__(self, looks):
        self.looks = looks

    def __call__(self):
        self.looks -= 1
        return 0.0 if self.looks >= 0 else 1e9


def too_few(monkeypatch, capsys, tmp_path, *arguments):
    """Too few minutes for anything, and then what the error advises: more of them, or none."""
    monkeypatch.setattr(rounds, "monotonic", Clock(2))
    status, out, err = run_here(monkeypatch, capsys, tmp_path, *arguments, "--minutes", "0.001")
    assert (status, out) == (1, "")
    advice = "give it more --minutes, or leave the option out"
    assert err == f"vgfast: in 0.001 minutes nothing could be measured; {advice}\n"
    monkeypatch.setattr(rounds, "monotonic", Clock(999))
    for minutes in (["--minutes", "5"], []):
        assert run_here(monkeypatch, capsys, tmp_path, *arguments, *minutes)[0] == 0
