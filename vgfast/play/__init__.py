"""``vgfast play``: a net whose settings one changes on a page in the browser, and what they do to its gradient.

``settings``: what can be set, checked, and as the text of an address. ``tasks``: the data. ``lab``: a net at work,
whose state is its settings and the number of its steps. ``presets``: the claims of the lessons. ``sentences``: on its
numbers. ``session``: all of it behind a page.
"""
