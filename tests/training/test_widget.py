"""The widget of notebooks: what it holds, when it is told of a training, and what it refuses."""

import numpy as np
import pytest

import vgfast as vg
from vgfast.show import page
from vgfast.show.page import data
from vgfast.training import widget as module

pytestmark = pytest.mark.any_isa

pytest.importorskip("anywidget")


def sent(shown):
    """All that it sends from now on."""
    found = []
    shown.observe(lambda change: found.append(change["new"]), "data")
    return found


def test_it_is_the_page_of_the_last_training(small_problem):
    net = vg.MLP([5, 8, 3], rng=0)
    history = net.fit(*small_problem, epochs=2, inspect_every=1)
    shown = vg.widget(net)
    own = page.data_of(data.title_of(history), [data.of_history(history)])
    assert shown.data == own
    state = shown.get_state()
    assert (state["_esm"], state["data"], state["style"]) == (page.script(), own, page.style())


def test_before_training_it_is_the_net_and_says_how_to_see_more(small_problem):
    net = vg.MLP([5, 8, 3], "tanh", rng=0)
    for _ in range(2):
        found = vg.widget(net).data
        assert found["title"] == repr(net)
        assert "inspect_every=10" in found["about"][0]
        assert [row[3] for row in found["parts"][0]["rows"]] == ["tanh", "identity"]
        net.fit(*small_problem, epochs=1)


@pytest.mark.parametrize(("every", "ends"), [(0.0, [4, 8, 12]), (3600.0, [12])])
def test_it_follows_a_training(small_problem, monkeypatch, every, ends):
    """At its beginning, meanwhile but not too often, and at its end."""
    monkeypatch.setattr(module, "EVERY", every)
    net = vg.MLP([5, 8, 3], rng=0)
    shown = vg.widget(net)
    found = sent(shown)
    history = net.fit(*small_problem, epochs=3, batch_size=10, inspect_every=1, callbacks=[shown])
    steps = [part["n_steps"] for values in found for part in values["parts"] if part["kind"] == "history"]
    assert sorted(set(steps)) == ends
    assert len(steps) <= 2 * len(ends)  # what is as it was is not sent again
    assert shown.data == page.data_of(data.title_of(history), [data.of_history(history)])


def test_it_changes_no_bit(small_problem):
    nets = [vg.MLP([5, 8, 3], rng=0) for _ in range(2)]
    for net, callbacks in zip(nets, ([], [vg.widget(nets[1])]), strict=True):
        net.fit(*small_problem, epochs=2, inspect_every=1, callbacks=callbacks)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_what_is_no_net():
    with pytest.raises(TypeError, match=r"vg.widget shows a net such as vg.MLP\(\[64, 30, 10\]\), got list"):
        vg.widget([1, 2])
