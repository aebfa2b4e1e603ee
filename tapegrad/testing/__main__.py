"""The command `python -m tapegrad.testing write package.module:op`."""

from __future__ import annotations

import argparse
import pkgutil
import re
from collections.abc import Sequence

from tapegrad.core.op import Op
from tapegrad.errors.functions import label
from tapegrad.errors.words import a_kind
from tapegrad.testing.assumed_domains import SOURCE_IMPORTS, AssumedDomain
from tapegrad.testing.calls import domain_of


def main(argv: Sequence[str] | None = None) -> None:
    """Print a test file for an op."""
    parser = argparse.ArgumentParser(
        prog="python -m tapegrad.testing", description="Tests for an op with VJP rules."
    )
    parser.add_argument(
        "command",
        choices=["write"],
        help="print a Hypothesis test file for an op, which runs as it is with pytest",
    )
    parser.add_argument("op", help="the op, as package.module:op")
    op = parser.parse_args(argv).op
    try:
        print(write_tests(op), end="")
    except (TypeError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


# --- the text of a test file --------------------------------------------------------------

_TESTS = '''\
# no deadline, for a slow machine is no failure; to explain a failure would take minutes
SETTINGS = settings(max_examples=50, deadline=None, phases=set(Phase) - {{Phase.explain}})


@SETTINGS
@given({calls})
def test_derivatives_of_{slug}(call):
    """First and second derivatives, in both modes, agree with differences."""
    testing.check_grads(partial({op}, **call.kwargs), call.args)


@SETTINGS
@given({calls})
def test_properties_of_{slug}(call):
    """The recorded and the compiled op, two runs and both modes agree."""
    testing.check_properties(partial({op}, **call.kwargs), call.args, compiled=True)
'''

_DOMAIN = """\
# {op} declares no domain. This one is assumed from its signature and from calls that were tried:
{says}
# Change it to what the op is for; an op made by tg.custom_op takes it as domain=.
{source}

"""


def write_tests(spec: str) -> str:
    """Return the text of a test file for an op.

    Parameters
    ----------
    spec
        The op, as ``"package.module:op"``.

    Raises
    ------
    ValueError
        If there is no such module, or no such op in it.
    TypeError
        If the object is no op with a rule, or has no domain and no trial domain works.
    """
    fn = _resolve_op(spec)
    module, _, op = spec.partition(":")
    if not callable(fn):
        raise TypeError(f"{spec} is {a_kind(fn)}; an op is needed, or a function")
    if isinstance(fn, Op) and isinstance(fn.vjps, tuple) and not any(fn.vjps):
        raise TypeError(f"{spec} has no VJP rule, so there is nothing to check")
    domain = domain_of(fn)
    slug = re.sub(r"\W+", "_", op).strip("_")
    head = [
        f'"""Tests of {label(fn)}, written by `python -m tapegrad.testing write {spec}`."""',
        "",
        "from functools import partial",
        "",
        "from hypothesis import Phase, given, settings",
        f"from {module} import {op.partition('.')[0]}",
        "",
        "from tapegrad import testing",
    ]
    body, calls = "", f"testing.operands_for({op})"
    if isinstance(domain, AssumedDomain):
        names = [
            name for name in sorted(SOURCE_IMPORTS) if re.search(rf"\b{name}\b", domain.source)
        ]
        head.append(f"from tapegrad.domain import {', '.join(names)}")
        says = "\n".join(f"#   {line}" for line in domain.assumptions)
        body = _DOMAIN.format(op=op, says=says, source=domain.source)
        calls = f"testing.operands_for({op}, calls)"
    return "\n".join([*head, "\n", body + _TESTS.format(calls=calls, slug=slug, op=op)])


def _resolve_op(spec: str) -> object:
    """Import the object with the name ``"package.module:op"``."""
    module, _, op = spec.partition(":")
    try:
        # without a colon, resolve_name would return a module
        return pkgutil.resolve_name(spec if op else "")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error}; run this where {module} can be imported, such as in its own folder"
        ) from error
    except AttributeError as error:
        raise ValueError(f"{module} has no {op}") from error
    except ValueError as error:
        raise ValueError(f"an op must be given as package.module:op, not {spec!r}") from error


if __name__ == "__main__":
    main()
