"""The pages on training, sweeps and making data, typed."""

import pytest
from documented.pages import TRAINING, each
from documented.world import do


@each(TRAINING)
@pytest.mark.slow
@pytest.mark.timeout(1800)  # what the first one waits for included
def test_it_works_as_documented(block, world):
    do(block, world)
