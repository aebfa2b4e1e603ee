"""Values as a page shows them: abbreviated, opened, and as a heat map."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import attrs
import numpy as np

from tapegrad.core.tensor import Parts
from tapegrad.explain.inside import primal_of
from tapegrad.face.ownership import Array
from tapegrad.face.text import short

_MOST_TEXT = 4000  # characters of one array, opened
_MOST_HEAT = 16  # rows and columns of a heat map
_WIDEST = 40  # characters in a line of an array, if fewer digits bring it down to that
_ENDS = {1: 3, 2: 2}  # elements at each end of an axis that is cut, by the number of axes
_LONGEST = 12  # characters of a scalar with all its digits


@attrs.frozen
class Texts:
    """The values of one page as text, each abbreviated, in rows and columns.

    Formatting an array takes NumPy long, so equal arrays are formatted once, and in full only if
    a reader can open them.
    """

    # arrays by dtype, shape and content
    _briefs: dict[Any, str] = attrs.field(factory=dict, init=False)
    _numbers: dict[Any, int] = attrs.field(factory=dict, init=False)
    _opened: dict[int, dict[str, str]] = attrs.field(factory=dict, init=False)

    def brief(self, value: Any) -> str:
        """A value abbreviated; an array in rows and columns."""
        if not _has_rows(value):
            return _scalar(value)
        key = _content(value)
        if key not in self._briefs:
            self._briefs[key] = _rows(value)
        return self._briefs[key]

    @property
    def widest(self) -> int:
        """The characters in the widest line of an array."""
        lines = [line for text in self._briefs.values() for line in text.split("\n")]
        return max(map(len, lines), default=0)

    def piece(self, value: Any) -> str | int:
        """A value between words: a scalar as text, an array by the number that the script knows."""
        if not _has_rows(value):
            return _scalar(value)
        self.brief(value)
        return self._numbers.setdefault(_content(value), len(self._numbers))

    def opened(self, value: Any) -> str | int:
        """The same in a cell of a table, where an array can be opened."""
        piece = self.piece(value)
        if isinstance(piece, int) and piece not in self._opened:
            self._opened[piece] = _further(value, self.brief(value))
        return piece

    def numbered(self) -> list[dict[str, str]]:
        """The texts of the arrays that have numbers, in order."""
        return [
            {"brief": self._briefs[key], **self._opened.get(i, {})}
            for i, key in enumerate(self._numbers)
        ]

    def html(self, value: Any) -> str:
        """A value in a cell, which can be opened if there is more to see."""
        brief = escape(self.brief(value))
        more = _further(value, self.brief(value)) if _has_rows(value) else {}
        if not more:
            return brief
        heat = f" data-heat='{more['heat']}'" if "heat" in more else ""
        return (
            f"<details{heat}><summary><span>{brief}</span></summary>"
            f"<pre>{escape(more['full'])}</pre></details>"
        )


def _has_rows(value: Any) -> bool:
    return type(value) is Parts or (isinstance(value, np.ndarray) and value.ndim > 0 < value.size)


def _content(value: Any) -> tuple[Any, ...]:
    if type(value) is Parts:
        return tuple([_content(np.asarray(primal_of(x))) for x in value.values])
    return value.dtype.str, value.shape, value.tobytes()


def _scalar(value: Any) -> str:
    """A number with at most eight decimals; an array without elements."""
    text = short(value)
    if len(text) > _LONGEST and np.ndim(value) == 0:
        return np.array2string(np.asarray(value), precision=8)
    return text


def _further(value: Any, brief: str) -> dict[str, str]:
    """What is shown of an array that is opened, if it is more than before."""
    if type(value) is Parts:
        return {}
    full = np.array2string(value, threshold=400, edgeitems=4, max_line_width=100)
    if full.split() == brief.split():
        return {}
    more = {"full": full[:_MOST_TEXT]}
    if value.ndim == 2 and "..." in brief and value.dtype.kind in "fiub":
        more["heat"] = json.dumps(_heat(value))
    return more


def _rows(value: Any) -> str:
    """An array's first and last rows and columns; a line ends only after a number."""
    if type(value) is Parts:
        parts = [0 if x is None else primal_of(x) for x in value.values]
        texts = [_rows(x) if _has_rows(x) else _scalar(x) for x in parts]
        return "({})".format(",\n".join(texts).replace("\n", "\n "))
    ends, text = _ENDS.get(value.ndim, 1), ""
    for precision in (4, 3, 2):
        text = np.array2string(
            value,
            precision=precision,
            threshold=0,
            edgeitems=ends,
            max_line_width=_WIDEST if value.ndim == 1 else 1000,
        )
        if max(map(len, text.split("\n"))) <= _WIDEST:
            break
    return text


def _heat(value: Array) -> list[list[float]]:
    """An array with two axes, reduced to few rows and columns, with elements between -1 and 1."""
    places = [np.unique(np.linspace(0, n - 1, min(n, _MOST_HEAT)).astype(int)) for n in value.shape]
    part = np.nan_to_num(value[np.ix_(*places)].astype(float), posinf=0, neginf=0)
    scale = np.max(np.abs(part))
    scaled: list[list[float]] = np.round(part / (scale or 1.0), 2).tolist()
    return scaled
