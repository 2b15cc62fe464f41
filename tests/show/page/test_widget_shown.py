"""The widget as a browser shows it: its module in a page that is another's."""

import base64
import json

import numpy as np
import pytest

import vgfast as vg
from vgfast.show import page
from vgfast.show.page import data

pytestmark = pytest.mark.any_isa

# What anywidget gives the module: a model with names and what listens to them, and an element of the notebook.
NOTEBOOK = """
<style>h1 {{ color: rgb(1, 2, 3) }}</style><h1>A notebook</h1><input id="cell"><div id="out"></div>
<script type="module">
const values = {values}, listeners = new Set();
globalThis.model = {{
  get: (name) => values[name],
  set: (name, value) => {{ values[name] = value; listeners.forEach((listener) => listener()); }},
  on: (_, listener) => listeners.add(listener),
  off: (_, listener) => listeners.delete(listener),
}};
const {{ default: widget }} = await import("data:text/javascript;base64,{module}");
globalThis.close = await widget.render({{ model, el: document.getElementById("out") }});
globalThis.drawn = true;
globalThis.left = listeners;
</script>
"""
ROOT = "document.getElementById('out').shadowRoot"


def page_of(epochs):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
    history = vg.MLP([5, 8, 8, 3], rng=0).fit(X, y, epochs, 10, inspect_every=1)
    return history, page.data_of(data.title_of(history), [data.of_history(history)])


@pytest.fixture
def notebook(browser, tmp_path):
    values = json.dumps({"data": page_of(2)[1], "style": page.style()}).replace("<", "\\u003c")
    module = base64.b64encode(page.script().encode()).decode()
    (tmp_path / "notebook.html").write_text(NOTEBOOK.format(values=values, module=module))
    browser.look(900)
    browser.open((tmp_path / "notebook.html").as_uri(), "globalThis.drawn")
    return browser


def test_it_shows_the_history_and_follows(notebook):
    history, more = page_of(3)
    notebook.run(f"model.set('data', {json.dumps(more)})")
    notebook.wait(f"{ROOT}.querySelector('h1').textContent.includes('12 steps')")
    cells = f"[...{ROOT}.querySelectorAll('td[data-field=grad_norm]')].map((td) => Number(td.dataset.value))"
    np.testing.assert_allclose(notebook.run(cells), history.gradients["grad_norm"][-1], rtol=2**-16)
    assert notebook.problems == []
    assert [request for request in notebook.requests if not request.startswith(("file:", "data:"))] == []


def test_its_style_and_keys_stay_within(notebook):
    assert notebook.run("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    assert notebook.run(f"getComputedStyle({ROOT}.querySelector('h1')).color") != "rgb(1, 2, 3)"
    assert notebook.run(f"{ROOT}.querySelector('.slider').clientWidth") > 200
    pressed = f"{ROOT}.querySelector('[aria-pressed=true]').dataset.quantity"
    before = notebook.run(pressed)
    notebook.run("document.getElementById('cell').blur()")
    notebook.press("3")
    assert notebook.run(pressed) == before
    notebook.run(f"{ROOT}.querySelector('[aria-pressed=true]').focus()")
    notebook.press("3")
    assert notebook.run(pressed) != before


def test_it_lets_go_of_the_model(notebook):
    notebook.run("close()")
    assert notebook.run("left.size") == 0
