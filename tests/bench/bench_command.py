"""``vgfast bench`` in this process, on nets that are quick with the fixture ``quick_nets``."""

from vgfast import cli

QUICK = ["bench", "--quick", "--rounds", "1", "--threads", "1"]
THREE = [*QUICK, "--workloads", "tiny,digits,mnist", "--competitors", "vgfast"]


def run_here(monkeypatch, capsys, tmp_path, *arguments):
    """Exit status, stdout and stderr of the command in this process."""
    monkeypatch.chdir(tmp_path)
    status = cli.main(arguments)
    return (status, *capsys.readouterr())
