"""Values as a page shows them: abbreviated, opened, and as a heat map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

import attrs
import numpy as np

from tapegrad.face.ownership import Array
from tapegrad.face.text import short

_MOST_TEXT = 4000  # characters of one array, opened
_MOST_HEAT = 16  # rows and columns of a heat map


@attrs.frozen
class Text:
    """A value as text: abbreviated, and in full if there is more to see."""

    brief: str
    full: str = ""
    heat: str = ""


@attrs.frozen
class Texts:
    """The values of one page as text.

    Formatting an array takes NumPy long, so equal arrays are formatted once.
    """

    _briefs: dict[Any, str] = attrs.field(factory=dict, init=False)
    _texts: dict[Any, Text] = attrs.field(factory=dict, init=False)
    # a value's text to its number
    _numbers: dict[Text, int] = attrs.field(factory=dict, init=False)

    def short(self, value: Any) -> str:
        """A value in one line."""
        if not isinstance(value, np.ndarray) or value.ndim == 0:
            return short(value)
        key = _content(value)
        if key not in self._briefs:
            self._briefs[key] = short(value)
        return self._briefs[key]

    def of(self, value: Any) -> Text:
        """A value abbreviated and in full."""
        if not isinstance(value, np.ndarray) or value.ndim == 0 or not value.size:
            return Text(short(value))
        key = _content(value)
        if key not in self._texts:
            self._texts[key] = self._opened(value)
        return self._texts[key]

    def _opened(self, value: Array) -> Text:
        brief = self.short(value)
        full = np.array2string(value, threshold=400, edgeitems=4, max_line_width=100)
        if value.ndim < 2 and " ".join(full.split()) == brief:
            return Text(brief)
        heat = json.dumps(_heat(value)) if value.ndim == 2 else ""
        return Text(brief, full[:_MOST_TEXT], heat)

    def number(self, value: Any) -> int:
        """The number by which the script finds a value."""
        return self._numbers.setdefault(self.of(value), len(self._numbers))

    def numbered(self) -> Iterator[dict[str, str]]:
        """The texts that have numbers, in order."""
        for text in self._numbers:
            yield {name: x for name, x in attrs.asdict(text).items() if x}

    def html(self, value: Any) -> str:
        """A value, which can be opened if it is larger than what is shown at first."""
        text = self.of(value)
        if not text.full:
            return escape(text.brief)
        heat = f" data-heat='{text.heat}'" if text.heat else ""
        brief, opened = escape(text.brief), escape(text.full)
        return f"<details{heat}><summary>{brief}</summary><pre>{opened}</pre></details>"


def _content(value: Array) -> tuple[Any, ...]:
    return value.dtype.str, value.shape, value.tobytes()


def _heat(value: Array) -> list[list[float]]:
    """An array with two axes, reduced to few rows and columns, with elements between -1 and 1."""
    places = [np.unique(np.linspace(0, n - 1, min(n, _MOST_HEAT)).astype(int)) for n in value.shape]
    part = np.nan_to_num(value[np.ix_(*places)].astype(float), posinf=0, neginf=0)
    scale = np.max(np.abs(part))
    scaled: list[list[float]] = np.round(part / (scale or 1.0), 2).tolist()
    return scaled
