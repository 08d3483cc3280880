"""The pages on using, serving, scoring and rating, and of the packages and examples, typed."""

import pytest
from documented.pages import USING, each
from documented.world import do


@each(USING)
@pytest.mark.slow
@pytest.mark.timeout(1800)  # what the first one waits for included
def test_it_works_as_documented(block, world):
    do(block, world)
