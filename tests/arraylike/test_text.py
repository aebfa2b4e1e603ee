"""The HTML of tapes, Tensors and programs is small, static and escaped."""

from html.parser import HTMLParser

import numpy as np
import pytest

import tapegrad as tg

NAME = "<script>alert(1)</script>"


# Jupyter's style sheet takes the fixed font from a pre
ATTRIBUTES = {"table": [("class", "tapegrad")], "pre": [("style", "font-family: monospace")]}


class PageText(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert attrs == ATTRIBUTES.get(tag, [])
        self.tags.add(tag)

    def handle_data(self, data):
        self.words += data


def named_tape():
    tape, x = tg.Tape().parameter(np.arange(3.0), name=NAME)
    return tape.write(tg.multiply, x, x)


def compiled_step():
    step = tg.compile(lambda x: tg.sum(x * x))
    step(np.ones(3))
    return step


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (named_tape()[0], [NAME, "multiply", "%0, %0", "[0. 1. 4.]"]),
        (named_tape()[0].parameters[0], [NAME, "[0., 1., 2.]", "line 0"]),
        (named_tape()[0].show(), [NAME, "multiply"]),
        (compiled_step().program(np.ones(3)), ["def "]),
        (compiled_step(), ["<compiled <lambda>, 1 program>", "def "]),
        (tg.tree.summary({NAME: np.ones(3)}), [NAME, "(3,)"]),
    ],
    ids=["tape", "tensor", "shown", "program", "compiled", "summary"],
)
def test_html_shows_an_object_as_text(item, words):
    page = PageText(item._repr_html_())
    assert "script" not in page.tags
    for word in words:
        assert word in page.words


def test_html_of_long_tape_is_cut():
    tape, x = tg.Tape().parameter(np.ones(2))
    for _ in range(500):
        tape, x = tape.write(tg.sin, x)
    assert len(tape._repr_html_()) < 10_000
    assert "and 461 more" in tape._repr_html_()
    assert len(tape.show()._repr_html_()) < 10_000


def test_html_reads_no_value_while_compiling():
    def fn(x):
        assert "shape (2,)" in x._repr_html_()
        return x * 2

    tg.compile(fn)(np.ones(2))
