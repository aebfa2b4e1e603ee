"""What is inside the records of a tape, on a page: loops, branches, checkpointed calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import islice
from typing import Any

from tapegrad.core.tensor import Tensor
from tapegrad.explain.inside import primal_of
from tapegrad.explain.show.values import Texts
from tapegrad.explain.steps import Step, SweptRun
from tapegrad.face.text import cells, printable

_MOST = 12  # the most steps of a loop on a page, from the last


_SECTION = """\
<section aria-labelledby="opened">
<h2 id="opened">Inside loops, branches and checkpointed calls</h2>
<p class="note">Each run of a body on a tape of its own, from the last to the first.</p>
{runs}
</section>
"""
_RUN = """\
<details{open}><summary>{head}</summary>
<div class="wide" tabindex="0" role="group" aria-label="{head}">
<table class="opened">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{inner}</details>"""


def section(steps: Mapping[Tensor, Step], texts: Texts) -> str:
    """The part of a page with what is inside the records of a tape; empty if nothing is."""
    found = [part for step in steps.values() for part in _runs(step, texts)]
    return _SECTION.format(runs="\n".join(found)) if found else ""


def _runs(step: Step, texts: Texts) -> Iterator[str]:
    record, first = step.record, True
    for made in islice(step.inside, _MOST):
        head = f"Inside %{record.index} {record.op.name} of {record.origin.label}"
        head += "" if made.step is None else f", step {made.step}"
        head = escape(printable(head))
        inner = "\n".join([part for within in made.steps for part in _runs(within, texts)])
        heads = "line", "record", "operands", "value", "cotangent", "source"
        yield _RUN.format(
            open=" open" if first else "",
            head=head,
            heads="".join([f'<th scope="col">{name}</th>' for name in heads]),
            rows="\n".join(_rows(made, texts)),
            inner=inner,
        )
        first = False


def _rows(made: SweptRun, texts: Texts) -> Iterator[str]:
    known: dict[Tensor, Any] = {step.record: primal_of(step.cotangent) for step in made.steps}
    for record in made.tape:
        n, name, operands, *_ = map(escape, cells(record))
        place = record.place
        source = escape(printable(f"{place.number}: {place.text}")) if place and place.text else ""
        g = texts.html(known[record]) if record in known else ""
        yield (
            f'<tr><th scope="row">{n}</th><td>{name}</td><td>{operands}</td>'
            f'<td class="value">{texts.html(record._primal)}</td>'
            f'<td class="cotangent">{g}</td><td class="source">{source}</td></tr>'
        )
