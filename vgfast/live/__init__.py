"""Trainings on a page in the browser, while they run: what is kept of each, and the callback that feeds the page."""
