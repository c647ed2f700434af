"""kill -9 while the routers are patched; kill_loop.py is the long form."""

import kill_loop

KILLS = 8


def test_no_acknowledged_plan_is_lost(demo_folder, tmp_path):
    acknowledged, _ = kill_loop.kill_loop(demo_folder, tmp_path / "state", KILLS, seed=7)
    assert acknowledged > 0
