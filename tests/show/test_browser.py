"""Who is asked to show a page."""

import threading
import webbrowser

import pytest

from vgfast.show.page import browser

pytestmark = pytest.mark.any_isa


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(browser.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def test_no_display_no_browser(linux, monkeypatch):
    asked = []
    monkeypatch.setattr(webbrowser, "open", asked.append)
    assert browser.open_browser("http://a") is None
    monkeypatch.setenv("DISPLAY", ":0")
    browser.open_browser("http://a").join(60)
    assert asked == ["http://a"]


def test_a_browser_is_not_waited_for(linux, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(webbrowser, "open", lambda address: ended.wait(60))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    thread = browser.open_browser("http://a")
    assert thread.is_alive()
    ended.set()
    thread.join(60)


def test_a_program_that_is_not_there_is_no_error(linux, monkeypatch, recwarn):
    def fail(address):
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "open", fail)
    monkeypatch.setenv("DISPLAY", ":0")
    browser.open_browser("http://a").join(60)
    assert list(recwarn) == []
