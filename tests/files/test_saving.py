"""How model files are written: with which modes, whole or not at all, and what is said where they cannot be."""

import errno
import fcntl
import os
import random
import signal
import stat
import time
from collections import Counter

import numpy as np
import pytest
from model_files import the_same, told

import vgfast as vg
from vgfast.files import replace

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forks, beside the core's threads


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def parts(folder):
    return [name for name in os.listdir(folder) if name.endswith(".part")]


# ---- modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(old, net, path, umask):
    net.save(path)
    path.chmod(old)
    net.save(path)
    assert mode(path) == old


def test_a_new_file_gets_what_the_umask_leaves(net, path, umask, monkeypatch):
    """Without the umask of the process being touched, which other threads create files by."""

    def touched(_):
        raise AssertionError("the umask is touched")

    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", touched)
        net.save(path)
    assert mode(path) == 0o640


def test_a_private_file_is_private_from_its_first_byte(net, path, umask, monkeypatch):
    net.save(path)
    path.chmod(0o600)
    born = []
    opening = os.open

    def watched(name, flags, *mode):
        handle = opening(name, flags, *mode)
        born.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "open", watched)
    net.save(path)
    assert born[0] == 0o600


@pytest.mark.parametrize(("old", "left"), [(0o664, 0o644), (0o640, 0o600), (0o660, 0o600)])
def test_a_group_that_cannot_be_kept_passes_on_no_more_than_all_have(old, left, net, path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, "no")

    net.save(path)
    path.chmod(old)
    monkeypatch.setattr(os, "fchown", refused)
    net.save(path)
    assert mode(path) == left


def test_owner_and_group_are_kept(net, path, monkeypatch):
    asked = []
    net.save(path)
    monkeypatch.setattr(os, "fchown", lambda handle, uid, gid: asked.append((uid, gid)))
    net.save(path)
    assert asked == [(path.stat().st_uid, path.stat().st_gid)]


# ---- whole or not at all -------------------------------------------------------------------------------


def test_the_file_is_on_the_disk_before_it_has_its_name_and_then_the_name(net, path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def replaced(part, target):
        done.append("name")
        replace(part, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    net.save(path)
    assert done == ["file", "name", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_error(net, path, monkeypatch):
    sync = os.fsync

    def refused(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no")
        sync(handle)

    monkeypatch.setattr(os, "fsync", refused)
    net.save(path)
    the_same(net, vg.MLP.load(path))


def forked(work):
    """A child process that does this and ends, whatever happens."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def ended(child):
    """By which signal."""
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("moment", ["flock", "fchmod", "fsync", "replace"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_moment(moment, after, net, path):
    """One file is whole, the old or the new, and the next save leaves nothing else."""
    other = vg.MLP([2, 2], rng=1)
    net.save(path)

    def die():
        module = fcntl if moment == "flock" else os
        real = getattr(module, moment)

        def dying(*args):
            if after:
                real(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, moment, dying)
        other.save(path)

    assert ended(forked(die)) == signal.SIGKILL
    replaced = moment == "replace" and after
    the_same(other if replaced else net, vg.MLP.load(path))
    assert len(parts(path.parent)) == (0 if replaced else 1)
    other.save(path.parent / "another")
    assert len(parts(path.parent)) == (0 if replaced else 1)  # not that one's
    other.save(path)
    the_same(other, vg.MLP.load(path))
    assert parts(path.parent) == []


def killed_savings(folder, kills, seed=0):
    """Kill a process that saves two nets in turn, so many times; returns how often a part-file was left."""
    path, r = folder / "net", random.Random(seed)
    nets = [vg.MLP([30, 400, 3], rng=i) for i in range(2)]
    nets[0].save(path)
    left = Counter()

    def save_for_ever():
        while True:
            for net in nets:
                net.save(path)

    for _ in range(kills):
        child = forked(save_for_ever)
        time.sleep(r.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        assert ended(child) == signal.SIGKILL
        left[len(parts(folder))] += 1
        assert any(np.array_equal(vg.MLP.load(path).params, net.params) for net in nets)
        nets[0].save(path)
        assert os.listdir(folder) == ["net"]
    return left


def test_killed_while_it_saves(tmp_path):
    killed_savings(tmp_path, 12)


def test_a_part_file_that_somebody_writes_is_left_alone(net, path, monkeypatch):
    replace = os.replace

    def meanwhile(part, target):
        monkeypatch.setattr(os, "replace", replace)
        vg.MLP([2, 2], rng=1).save(path)  # as another thread or process does
        assert os.path.exists(part)
        replace(part, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert parts(path.parent) == []


def test_a_part_file_taken_for_one_that_was_left_is_begun_again(net, path, monkeypatch):
    """By another saver, in the moment between its creation and its lock."""
    lock = fcntl.flock

    def late(handle, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        vg.MLP([2, 2], rng=1).save(path)
        assert parts(path.parent) == []
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    net.save(path)
    the_same(net, vg.MLP.load(path))


def test_a_part_file_that_another_saver_locks_first_is_begun_again(net, path, monkeypatch):
    """That one removes it at any time from then on: here at the last moment."""
    lock, replace, taken = fcntl.flock, os.replace, []

    def too_late(handle, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        taken.extend(parts(path.parent))
        raise BlockingIOError(errno.EWOULDBLOCK, "locked")

    def after_that(part, target):
        (path.parent / taken[0]).unlink()
        replace(part, target)

    monkeypatch.setattr(fcntl, "flock", too_late)
    monkeypatch.setattr(os, "replace", after_that)
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert parts(path.parent) == []


def test_two_that_save_at_once(net, path):
    def save_often():
        for _ in range(40):
            net.save(path)
        os.kill(os.getpid(), signal.SIGTERM)  # told from an end by an error

    children = [forked(save_often), forked(save_often)]
    assert [ended(child) for child in children] == [signal.SIGTERM] * 2
    the_same(net, vg.MLP.load(path))
    assert parts(path.parent) == []


def test_without_locks_nothing_is_removed(net, path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    (path.parent / f"{_stem(path)}0.part").write_bytes(b"")
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert len(parts(path.parent)) == 1


def _stem(path):
    """How the names of this target's part-files begin."""
    names = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replace, "_remove_left", lambda folder, stem: names.append(stem))
        vg.MLP([2, 2]).save(path)
    path.unlink()
    return names[0]


def test_what_only_has_the_name_of_a_part_file_does_no_harm(net, path):
    kept = path.parent / "kept"
    kept.write_bytes(b"kept")
    stem = path.parent / _stem(path)
    os.mkfifo(f"{stem}1.part")
    os.symlink(kept, f"{stem}2.part")
    os.mkdir(f"{stem}3.part")
    net.save(path)
    the_same(net, vg.MLP.load(path))
    assert kept.read_bytes() == b"kept"


def test_a_name_as_long_as_can_be(net, tmp_path):
    path = tmp_path / ("n" * 255)
    net.save(path)
    the_same(net, vg.MLP.load(path))


# ---- where nothing can be written ------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "models/new/net"
    text = told(FileNotFoundError, net.save, path)
    assert text == f"{path} cannot be written: the folder models/new does not exist; create it or choose another path"
    os.makedirs("models/new")
    net.save(path)  # as was told


def test_a_folder_that_is_none(net, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    text = told(NotADirectoryError, net.save, tmp_path / "file" / "net")
    what = f"{tmp_path}/file, in which it is to lie, is no folder; choose another path"
    assert text == f"{tmp_path}/file/net cannot be written: {what}"


def test_a_link_to_a_folder_that_is_not_there(net, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none" / "net")
    text = told(FileNotFoundError, net.save, tmp_path / "link")
    assert text.startswith(f"{tmp_path}/link cannot be written: the folder {tmp_path}/none does not exist; ")


FULL = OSError(errno.ENOSPC, "No space left on device")
FORBIDDEN = PermissionError(errno.EACCES, "Permission denied", "/hidden/x.part")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("open", FORBIDDEN, "you may not write it into the folder {}; choose another folder"),
        ("replace", FORBIDDEN, "you may not write it into the folder {}; choose another folder"),
        ("fsync", FULL, "No space left on device; mend that or choose another path"),
    ],
)
def test_what_the_system_refuses_is_told_of_the_path_that_was_given(call, error, words, net, path, monkeypatch):
    net.save(path)
    old = path.read_bytes()

    def refused(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refused)
        text = told(type(error), vg.MLP([2, 2]).save, path)
    assert text == f"{path} cannot be written: {words.format(path.parent)}"
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("end", ["", "new/"])
def test_a_path_that_names_no_file(end, net, tmp_path):
    text = told(ValueError, net.save, f"{tmp_path}/{end}")
    assert "is not a regular file, so it is not replaced; choose another path" in text
    assert os.listdir(tmp_path) == []
