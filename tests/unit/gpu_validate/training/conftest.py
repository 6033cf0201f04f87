"""Text of training, prepared once for all tests of this folder that train on the same sources."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from gpu_validate.training import corpus, work


@pytest.fixture(scope="package", autouse=True)
def text_prepared_once() -> Iterator[None]:
    """Prepare the text of each plan once; `test_corpus` shows that it is the same every time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "prepare", cache(corpus.prepare))
        yield
