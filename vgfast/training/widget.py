"""A widget for notebooks: the page of a training, which follows while it goes on. It needs anywidget."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from vgfast._check import packages
from vgfast.model import summary
from vgfast.show import page
from vgfast.show.page import data
from vgfast.training.history import History

# Seconds between two views of a training: all that is shown is sent anew each time.
EVERY = 1.0


def widget(net: Any) -> Any:
    """A widget that shows what the last training of a net has recorded, as ``History.save_html`` does; where nothing
    was inspected, what the net is. As a callback it follows a training, once a second at most::

        shown = vg.widget(net)
        display(shown)
        net.fit(X, y, inspect_every=10, callbacks=[shown])

    It works where anywidget does: Jupyter, VS Code, Colab, marimo; nothing comes from outside. Errors: ImportError
    without anywidget; TypeError for what is no net.
    """
    if not hasattr(net, "history") or not hasattr(net, "_architecture"):
        raise TypeError(f"vg.widget shows a net such as vg.MLP([64, 30, 10]), got {type(net).__name__}")
    packages.require("anywidget", "vg.widget", "'vgfast[notebook]'")
    return _kind()(data=_page(net, net.history))


def _page(net: Any, history: History | None) -> dict[str, Any]:
    """What is to be seen now."""
    if history is None or not len(history.steps):
        how = "No step has been inspected; net.fit(..., inspect_every=10, callbacks=[widget]) shows them here."
        table = summary.table(net._architecture, net._inits)
        return page.data_of(repr(net), [data.table("Its layers", table)], [how])
    return page.data_of(data.title_of(history), [data.of_history(history)])


@cache
def _kind() -> type:
    import anywidget
    import traitlets

    class NetWidget(anywidget.AnyWidget):
        """``data`` of the page, and its ``style``, which stays within the widget."""

        _esm = page.script()
        data = traitlets.Dict().tag(sync=True)
        style = traitlets.Unicode(page.style()).tag(sync=True)
        _sent = 0.0

        def on_train_begin(self, net: Any, history: History) -> None:
            self._show(net, history)

        def on_progress(self, net: Any, history: History) -> None:
            if time.monotonic() > self._sent + EVERY:
                self._show(net, history)

        on_epoch_end = on_progress

        def on_train_end(self, net: Any, history: History) -> None:
            self._show(net, history)

        def on_exception(self, net: Any, history: History, error: BaseException) -> None:
            self._show(net, history)

        def _show(self, net: Any, history: History) -> None:
            self.data = _page(net, history)
            self._sent = time.monotonic()

    return NetWidget
