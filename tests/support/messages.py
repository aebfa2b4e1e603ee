"""What errors say."""

from typing import Any

import pytest


def said(kind: type[BaseException], call: Any, *parts: str) -> str:
    """The message of the error of this kind that a call raises, with all these parts in it."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert [x for x in parts if x not in message] == [], message
    return message
