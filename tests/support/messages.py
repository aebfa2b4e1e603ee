"""What errors say."""

from typing import Any

import pytest


def said(kind: type[BaseException], call: Any) -> str:
    """The message of the error of this kind that a call raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)
