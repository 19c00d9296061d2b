"""`xaas events`: the changes of state of all runs, one a line."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from rich.console import Console
from rich.text import Text

from xaas_cli.board import Change, moment, now
from xaas_cli.client import Api, Json
from xaas_cli.feed import Feed
from xaas_cli.objects import SHORT_ID
from xaas_cli.printing import write
from xaas_cli.states import Side, Status
from xaas_cli.symbols import tame
from xaas_cli.views import line

SILENCE_S: Final = 1.0
"""What is kept comes without a break: after this long without an event there are no more."""


class EventFormat(StrEnum):
    """How events are printed."""

    LINES = "lines"
    JSON = "json"


def print_events(
    api: Api, out: Console, query: Mapping[str, str], form: EventFormat, *, follow: bool
) -> None:
    """Print events; with `follow` until Ctrl-C. Raises Failure if there are none to be had."""
    with api.stream("/events", query):
        pass  # a refusal shows here; the feed would go on trying
    with Feed(api, query) as feed:
        while True:
            events = feed.take(SILENCE_S)
            if not events and not follow:
                return
            for event in events:
                if form is EventFormat.JSON:
                    write(json.dumps(event, ensure_ascii=False))
                else:
                    id, change = read(event)
                    label = Text(f"{id[:SHORT_ID]}  ", "dim")
                    out.print(label + line(change), soft_wrap=True)


def read(event: Json) -> tuple[str, Change]:
    """The run's id and the change that an event tells."""
    content = event["content"]
    at = moment(event["time"]) or now()
    name, status = tame(content["name"]), Status(content["status"])
    if event["event"] == "Pipeline":
        return content["instance_id"], Change(at, name, status)
    side = Side(content["process_type"])
    return content["owner_id"], Change(at, name, status, tame(content["ref"]), side)
