"""vgfast.mpi: ranks that mpiexec starts train as one process does, or end together.

Each start does many things, as it takes most of a second: ``rank.py`` is what a rank does.
"""

import sys
import time
from functools import cache

import numpy as np
import pytest
from mpi.cases import CASES, train, train_with_checkpoint
from mpi.start import needs_mpi, run, start
from training.ranks import CLOSE, assert_as_one

import vgfast as vg

pytestmark = [pytest.mark.any_isa, *needs_mpi]
FEW = ["uneven batches", "weighted shards"]


# ---- as one process --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """What each rank has found, by how many there are: of one start each."""
    works = {2: "cases+exact+refusals", 3: "cases+exact+others", 4: "cases+exact"}
    names = {size: "" if size == 2 else ";".join(FEW) for size in works}
    return cache(lambda size: run(size, tmp_path_factory.mktemp(str(size)), works[size], names[size]))


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_are_one_process(name, started):
    one = train(name, vg.MLP.fit, size=2)
    assert_as_one([rank["cases"][name] for rank in started(2)], one, CLOSE[one[0].dtype.name])


@pytest.mark.parametrize("size", [3, 4])
def test_so_are_more_of_them_than_processors(size, started):
    for name in FEW:
        assert_as_one([rank["cases"][name] for rank in started(size)], train(name, vg.MLP.fit, size=size))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_exact_sums_give_the_same_bits_each_time(size, started):
    found = [rank["exact"] for rank in started(size)]
    assert len({digest for three, _ in found for digest in three}) == 1
    assert len({own for _, own in found}) == 1


# ---- what must not begin, or go on -----------------------------------------------------------------------

# What the error says in each rank.
REFUSALS = {
    "nets": ("ValueError", "rank 1 of 2 trains with sizes (9, 8, 4), and rank 0 with (9, 16, 12, 4)"),
    "dtypes": ("ValueError", "rank 1 of 2 trains with dtype float64, and rank 0 with float32"),
    "rows": ("ValueError", "rank 1 of 2 trains with rows of X 50, and rank 0 with 67"),
    "data": ("ValueError", "rank 1 of 2 trains with X, y and weights of the checksum"),
    "optimizers": ("ValueError", "rank 1 of 2 trains with lr 0.2, and rank 0 with 0.1"),
    "epochs": ("ValueError", "rank 1 of 2 trains with epochs 3, and rank 0 with 2"),
    "inspections": ("ValueError", "rank 1 of 2 trains with inspect_every 3, and rank 0 with 2"),
    "callbacks": ("ValueError", "rank 1 of 2 trains with callbacks print, and rank 0 with none"),
    "checkpoints": ("ValueError", "rank 1 of 2 trains with callbacks Checkpoint(every=1, every_steps=3), and rank 0"),
    "held out": ("ValueError", "rank 1 of 2 trains with validation_data of the checksum"),
    "averages": ("ValueError", "rank 1 of 2 trains with average_every 3, and rank 0 with 2"),
    "averages and inspection": ("ValueError", "average_every takes no inspect_every, got 2"),
    "few averages": ("ValueError", "average_every must be at least 1, got 0"),
    "exactness": ("ValueError", "rank 1 of 2 trains with exact True, and rank 0 with False"),
    "NaN": ("ValueError", "rank 1 of 2: X has NaN in row 40, column 3"),
    "NaN in a shard": ("ValueError", "rank 1 of 2: X has NaN in row 40, column 3"),
    "no net": ("TypeError", "rank 1 of 2: net must be one of vgfast's, such as vg.MLP makes, got 'net'"),
    "source": ("ValueError", "rank 0 of 2: a Reducer of processes that have the same rows takes rows in memory"),
    "one source": ("ValueError", "rank 1 of 2 trains with X from a source, and rank 0 with in memory; give all ranks"),
    "weights beside a source": ("TypeError", "rank 1 of 2: fit takes sample_weight from the blocks of a source"),
    "small batches": ("ValueError", "a row for each of the 2 ranks, got batch_size=1 and 67 rows"),
    "few rows": ("ValueError", "a row for each of the 2 ranks, got batch_size=16 and 1 rows"),
    "batch norm": ("ValueError", "rank 0 of 2: reduce takes no net with batch norm"),
    "sparse shards": ("ValueError", "rank 0 of 2: sharded sparse rows are not inspected"),
    "threads": ("ValueError", "rank 1 of 2: threads must be at least 1, got 0"),
    "progress": ("TypeError", "rank 1 of 2: progress must be True, False, or a function"),
    "schedules": (
        "ValueError",
        "rank 0 of 2: lr must give a number for each step, at least 0 and finite, got -1.0 for",
    ),
    "schedules that fail": ("RuntimeError", "rank 0 of 2: KeyError(6)"),
    "many steps": ("ValueError", "rank 0 of 2: epochs x steps of an epoch must be from 1 to 2147483647"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_ranks_cannot_do_together_is_refused_in_all_before_any_change(what, started):
    error, words = REFUSALS[what]
    refused = [rank["refusals"] for rank in started(2)]
    assert refused[0].keys() == REFUSALS.keys()
    for found in refused:
        assert found[what][0] == error
        assert words in found[what][1]
        assert found[what][2]
    assert refused[0][what] == refused[1][what]


@pytest.fixture(scope="module")
def others(started):
    return [rank["others"] for rank in started(3)]


def test_ranks_that_begin_with_other_seeds_take_rank_0s(others):
    told = "ranks 1, 2 of 3 had other parameters than rank 0, which all now take; make each net with the same seed"
    assert [found["warnings"] for found in others] == [[told], [], []]
    assert others[0]["alike"] == others[1]["alike"] == others[2]["alike"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("ended", "training ends after 1 epochs in rank 1 of 3, and not in the others"),
        ("drifted", "the parameters of rank 1 of 3 are not those of the others before step 6"),
    ],
)
def test_a_rank_that_does_otherwise_is_named_in_all(what, words, others):
    for found in others:
        assert found[what][0] == "DriftError"
        assert words in found[what][1]


def test_a_rank_whose_rows_are_not_finite_is_named_in_all(others):
    for found in others:
        words, step, steps, digest = found["diverged"]
        assert "of rank 2 of 3 was not finite" in words
        assert (step, steps, digest) == (2, 2, others[0]["diverged"][3])


def test_all_end_with_the_error_of_a_source_in_one(others):
    for found in others:
        assert found["failed"][:2] == others[0]["failed"][:2]
        error, words, same = found["failed"]
        assert error == "RuntimeError"
        assert words.startswith("rank 1 of 3: the source failed where block 0 was due (OSError: the disk is gone)")
        assert not same  # the random numbers have been drawn


def test_only_rank_0_tells_of_progress(others):
    for found in others:  # each has looked whether it was told
        np.testing.assert_array_equal(found["shown"][0].params, others[0]["shown"][0].params)


# ---- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", ["vgfast.mpi: rank 1 of 3 failed, so all ranks end", "KeyError: 'no such row'"]),
        ("killed", ["signal 9"]),
    ],
)
def test_a_rank_that_fails_ends_all(how, words, tmp_path):
    begin = time.perf_counter()
    found, done = start(3, tmp_path, "fails", how)  # a training of an hour
    print(f"a rank {how}: all ended after {time.perf_counter() - begin:.1f} s")
    assert done.returncode != 0
    assert found == []
    for word in words:
        assert word.lower() in (done.stdout + done.stderr).lower()


def killed_and_gone_on(how, death, folder):
    """A training with a rank killed, and what its second start finds. how: the number of ranks, and whether each has
    its own rows. death: which, and at which step."""
    size, sharded = how
    path = folder / "run.npz"
    lost, done = start(size, folder, "goes_on", f"{path},{death},{sharded}")
    assert done.returncode != 0
    assert len(lost) < size
    assert path.exists()
    for file in folder.glob("*.pickle"):
        file.unlink()
    return run(size, folder, "goes_on", f"{path},,{sharded}")


def assert_as_unbroken(unbroken, gone_on):
    for mine, its in zip(gone_on, unbroken, strict=True):
        (net, history), (net_2, history_2) = mine["shown"], its["shown"]
        assert mine["warnings"] == []
        assert net.params.tobytes() == net_2.params.tobytes()
        assert history.loss.tobytes() == history_2.loss.tobytes()
        assert history.gradients.tobytes() == history_2.gradients.tobytes()
        assert [e["accuracy"] for e in history.epochs] == [e["accuracy"] for e in history_2.epochs]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """By the number of ranks, and whether each has its own rows."""
    return cache(lambda size, sharded: run(size, tmp_path_factory.mktemp("whole"), "goes_on", f",,{sharded}"))


DEATHS = [(3, "sharded", "1:5"), (2, "", "1:30")]
# Rank 0, which writes, and another of each kind, at steps of which each lies otherwise between two checkpoints; and ten
# that were drawn.
MORE_DEATHS = [
    (2, "", "0:15"),
    (2, "", "1:49"),
    (3, "", "0:51"),
    (3, "", "2:36"),
    (2, "sharded", "0:43"),
    (2, "sharded", "1:22"),
    (3, "sharded", "0:57"),
    (3, "sharded", "2:38"),
    (2, "sharded", "1:4"),
    (3, "", "0:0"),
    (3, "", "0:58"),
    (3, "", "1:44"),
    (3, "", "2:2"),
    (3, "sharded", "0:50"),
    (3, "sharded", "2:11"),
    (3, "sharded", "2:18"),
    (3, "sharded", "2:28"),
    (3, "sharded", "2:49"),
]


@pytest.mark.parametrize(
    ("size", "sharded", "death"), [*DEATHS, *(pytest.param(*case, marks=pytest.mark.once) for case in MORE_DEATHS)]
)
def test_a_training_that_was_killed_goes_on_to_the_same_bits(size, sharded, death, unbroken, tmp_path):
    """Checkpoints are two steps apart, or one where an epoch ends; the last may not have been finished."""
    gone_on = killed_and_gone_on((size, sharded), death, tmp_path)
    assert_as_unbroken(unbroken(size, sharded), gone_on)
    lost = gone_on[0]["steps"] - (60 - int(death.partition(":")[2]))
    print(f"killed at {death}: {size} ranks {sharded}, {lost} steps were taken again")
    assert 0 <= lost < 4


@pytest.mark.parametrize("size", [1, 3])
def test_with_another_number_of_ranks_it_goes_on_and_warns(size, unbroken, tmp_path):
    path = tmp_path / "run.npz"
    assert start(2, tmp_path, "goes_on", f"{path},1:30,")[1].returncode != 0
    found = run(size, tmp_path, "goes_on", f"{path},,")
    ends = f"ranks, and goes on with {size}: sums are taken in another order, so that the last bits may differ"
    assert [len(rank["warnings"]) for rank in found] == [1] + [0] * (size - 1)
    assert found[0]["warnings"][0] == f"{path} is a checkpoint of 2 {ends}"
    whole = unbroken(2, "")[0]["shown"]
    assert_as_one([rank["shown"] for rank in found], whole)
    assert found[0]["steps"] < 60


def test_a_checkpoint_of_one_process_goes_on_by_ranks(unbroken, tmp_path):
    path = tmp_path / "run.npz"
    train_with_checkpoint(path, vg.MLP.fit, epochs=5)
    found = run(2, tmp_path, "goes_on", f"{path},,")
    assert found[0]["warnings"][0].startswith(f"{path} is a checkpoint of 1 rank, and goes on with 2")
    assert [rank["steps"] for rank in found] == [35, 35]
    assert_as_one([rank["shown"] for rank in found], unbroken(2, "")[0]["shown"])
    done = start(2, tmp_path, "broken", str(path))[0]
    for error, words, same in done:
        assert error == "ValueError"
        assert f"{path} must be a checkpoint of this training, and cannot be read as one" in words
        assert same


def test_a_rank_that_goes_on_with_other_rows_is_named(tmp_path):
    path = tmp_path / "run.npz"
    for error, words, same in run(2, tmp_path, "other_shard", str(path)):
        assert error == "ValueError"
        assert words.startswith(f"{path} is a checkpoint of a training with X, y and weights of the checksum ")
        assert " in rank 1, got " in words
        assert same


def test_shards_go_on_with_as_many_ranks(tmp_path):
    path = tmp_path / "run.npz"
    run(2, tmp_path, "fewer_shards", str(path))
    for error, words, same in run(3, tmp_path, "fewer_shards", str(path)):
        assert error == "ValueError"
        assert words == (
            f"{path} is a checkpoint of 2 ranks, each with rows of its own, and goes on with 3; take as many, or name "
            f"another path"
        )
        assert same


def test_local_sgd_ends_equal_and_goes_on_with_the_optimizer_of_each_rank(tmp_path):
    path = tmp_path / "run.npz"
    first, second = run(2, tmp_path, "averages", str(path))
    for whole, _, gone_on in (first, second):
        assert gone_on == whole
    assert first[0][:2] == second[0][:2]
    assert first[0][2] != second[0][2]
    words = (
        "a checkpoint of 2 ranks, each with an optimizer of its own, and goes on with 3; take as many, or name another"
    )
    for error, said, same in run(3, tmp_path, "averages", str(path)):
        assert error == "ValueError"
        assert words in said
        assert same


# ---- where there is no MPI -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "vgfast.mpi needs mpi4py, which is not installed; install it with: pip install 'vgfast[mpi]' mpich"),
        (
            "raise RuntimeError('cannot load MPI library')",
            "cannot load MPI library); install one with: pip install mpich",
        ),
    ],
    ids=["no mpi4py", "no MPI"],
)
def test_what_is_missing_is_named(module, words, monkeypatch, tmp_path):
    from vgfast import mpi

    for name in [name for name in sys.modules if name.partition(".")[0] == "mpi4py"]:
        monkeypatch.delitem(sys.modules, name)
    if module is None:
        monkeypatch.setitem(sys.modules, "mpi4py", None)
    else:
        package = tmp_path / "mpi4py"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "MPI.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path)
    net = vg.MLP([2, 3, 2], rng=0)
    before = net.params.copy()
    with pytest.raises(ImportError) as error:
        mpi.fit(net, np.eye(2), [0, 1])
    assert words in str(error.value)
    np.testing.assert_array_equal(net.params, before)
