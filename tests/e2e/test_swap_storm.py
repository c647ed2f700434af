"""swap_storm.py at a size that takes seconds."""

import swap_storm
from server_process import DEADLINE_S


def test_streams_get_what_they_are_stamped_with_while_plans_are_swapped(golden):
    printed, _ = swap_storm.run(golden, swaps=300, streams=16, deadline_s=5 * DEADLINE_S)
    assert " 0 failures" in printed
