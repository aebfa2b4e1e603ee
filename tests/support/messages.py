"""Checks of messages: of one refusal, or of a table of them."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

# the kind of an error, a call, and parts of the message, apart by |
Refusal = tuple[type[BaseException], Callable[..., Any], str]


def message_of(kind: type[BaseException], call: Callable[..., Any], *parts: str) -> str:
    """The message of the error of this kind that a call raises, with all these parts in it."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert [x for x in parts if x not in message] == [], message
    return message


def check_refusals(
    table: Iterable[Refusal], run: Callable[[Any], Any] = lambda call: call(), common: str = ""
) -> None:
    """Check that each call of a table is refused in its words; tell of all that are not.

    A call is run by `run`, and every message has the parts `common` too.
    """
    wrong = []
    for kind, call, parts in table:
        code = getattr(call, "__code__", None)
        where = f"line {code.co_firstlineno}" if code else repr(call)
        try:
            result = run(call)
        except kind as error:
            message = str(error)
            missing = [x for x in f"{parts}|{common}".split("|") if x not in message]
            if missing:
                wrong.append(f"{where}: {missing} not in {message!r}")
        except Exception as error:
            wrong.append(f"{where}: {error!r}")
        else:
            wrong.append(f"{where}: returned {result!r}")
    assert not wrong, "\n".join(wrong)
