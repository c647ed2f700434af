"""No connection and no request takes the server down: every attack, in each setup it is for."""

import os

import pytest

from attacks import ATTACKS, Ground, http_everything_at_once, silent_and_slow_on_all_ports
from edge_server import BARE, EDGE, FEW_FILES, SETUPS

LONG = os.environ.get("OLMOE_EDGE_LONG") == "1"
# To see them bite: what is for behind the edge only, without it.
UNPROTECTED = os.environ.get("OLMOE_EDGE_UNPROTECTED") == "1"


def _is_for(attack, setup):
    if not (attack.edge if setup.edge else attack.bare or UNPROTECTED):
        return False
    if setup in (BARE, EDGE):
        return True
    if setup is FEW_FILES:
        return attack.few_files or LONG
    return attack.tls or LONG


CASES = [pytest.param(setup, attack, id=f"{setup.name}-{attack.name}")
         for setup in SETUPS for attack in ATTACKS if _is_for(attack, setup)]


@pytest.mark.parametrize(("setup", "attack"), CASES)
def test_the_server_stands(setup, attack, arena):
    victim = arena.victim(setup)
    try:
        victim.forget_peaks()
        with Ground(victim) as ground:
            attack.run(victim, ground)
            victim.check_alive()
            if "health" in attack.during:
                victim.check_health("during the attack")
            if "served" in attack.during:
                victim.check_serves("during the attack", within_s=attack.patience_s)
        victim.check_serves("after the attack")
        victim.check_health("after the attack")
        victim.check_memory("at most")
    except BaseException:
        arena.close()
        raise


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.name)
def test_sigterm_ends_it_in_its_grace(setup, arena):
    """Beside silent, trickling, half-sent and unread connections on all ports."""
    victim = arena.victim(setup)
    try:
        with Ground(victim) as ground:
            http_everything_at_once(victim, ground)
            silent_and_slow_on_all_ports(victim, ground)
            victim.check_ends()
    finally:
        arena.close()
