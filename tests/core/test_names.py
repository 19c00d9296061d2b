"""Derived names: stable, distinct, and fit for where they are used."""

import re
import uuid

from xaas_core.engine.states import Side
from xaas_core.names import event_id, instance_id, runner_id

RUN = "8b0f0e9e-0000-4000-8000-000000000000"


def test_they_are_stable_across_versions() -> None:
    assert instance_id(RUN, "a", Side.DO) == "03d4c161-3746-551f-9cef-b80f83634f9c"
    assert event_id(RUN, 1) == "58c1ab69-2959-53d1-8334-b4216616278c"


def test_they_are_distinct() -> None:
    made = [
        instance_id(RUN, "a", Side.DO),
        instance_id(RUN, "a", Side.UNDO),
        instance_id(RUN, "b", Side.DO),
        instance_id(str(uuid.UUID(int=1)), "a", Side.DO),
        event_id(RUN, 1),
        event_id(RUN, 2),
    ]
    assert len(set(made)) == len(made)
    runners = {runner_id(RUN, "a", Side.DO, n, launch) for n in (1, 11) for launch in (1, 2, 11)}
    assert len(runners) == 6


def test_a_runners_name_is_a_dns_label_whatever_the_refs_name_is() -> None:
    for ref in ("a", "タスク 1/é", "x" * 253):
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", runner_id(RUN, ref, Side.UNDO, 999, 99))
        assert len(runner_id(RUN, ref, Side.UNDO, 9999, 999)) <= 52
