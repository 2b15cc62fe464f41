"""Pages read back: their data, packed arrays, tags."""

import base64
import html.parser
import json
import zlib

import numpy as np


class Tags(html.parser.HTMLParser):
    """``found``: (tag, attributes, text) of all elements, in order of their beginning."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])

    def handle_data(self, text):
        if self.found:
            self.found[-1][2] += text

    def shown(self):
        """What is read, without scripts and style."""
        return " ".join(text for tag, _, text in self.found if tag not in ("script", "style"))

    def of(self, tag):
        return [element for element in self.found if element[0] == tag]


def data_in(text):
    """What the script of a page gets."""
    ((_, _, content),) = [tag for tag in Tags(text).of("script") if tag[1].get("id") == "vgfast-data"]
    return json.loads(content)


def unpacked(value):
    """The array that ``data.packed`` gave."""
    ((form, content),) = [item for item in value.items() if item[0] != "shape"]
    if form == "list":
        return np.array(content).reshape(value["shape"])
    planes = np.frombuffer(zlib.decompress(base64.b64decode(content)), np.uint8)
    planes = planes.reshape({"f24": 3, "i32": 4, "d32": 4}[form], -1)
    each = np.zeros((planes.shape[1], 8 if form == "d32" else 4), np.uint8)
    each[:, : len(planes)] = planes.T
    return each.view({"f24": ">f4", "i32": "<i4", "d32": ">f8"}[form]).astype(np.float64).reshape(value["shape"])
