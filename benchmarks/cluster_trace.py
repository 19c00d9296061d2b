"""What happens in one run, request by request: from the debug log of the operator's replicas.

Each line is a request to the API server, or a runner's call to the gateway: when it began, in
milliseconds after the first, how long it took, and which replica it was (0 leads).
"""

import re
from datetime import UTC, datetime, timedelta

from benchmarks.operator_numbers import Operator
from tests.cluster import chart

from xaas_kube.client import verb_and_resource

_LINE = re.compile(
    r"(\S+ \S+) DEBUG (?P<by>xaas_kube\.client|xaas_core\.gateway_app): (?P<what>.*)"
)
_REQUEST = re.compile(r"(?P<method>[A-Z]+) (?P<path>\S+): (?P<ms>[\d.]+) ms")
_CALL = re.compile(r"\S*/(?P<call>\w+) by (?P<who>.*): (?P<answer>\w+), (?P<ms>[\d.]+) ms")
_RUNNER = re.compile(r"ref='([^']*)'")


async def lines(operator: Operator, since: datetime, until: datetime) -> list[str]:
    """The trace of what began between two times, in the order of beginnings."""
    leader = await operator.leader()
    names = sorted(await operator.names(), key=lambda name: name != leader)
    found: list[tuple[datetime, float, int, str]] = []
    for number, name in enumerate(names):
        text = chart.kubectl(
            "logs", name, f"--namespace={chart.NAMESPACE}", "--container=operator", "--since=2m"
        )
        for line in text.splitlines():
            told = _told(line)
            if told is not None and since <= told[0] <= until:
                found.append((told[0], told[1], number, told[2]))
    found.sort()
    return [
        f"{(began - found[0][0]) / timedelta(milliseconds=1):7.0f} {lasted:6.1f}  {number}  {what}"
        for began, lasted, number, what in found
    ]


def _told(line: str) -> tuple[datetime, float, str] | None:
    """When what a line tells of began, how long it took in milliseconds, and what it was."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    request, call = _REQUEST.fullmatch(match["what"]), _CALL.fullmatch(match["what"])
    if request is not None:
        verb, resource = verb_and_resource(request["method"], request["path"], None)
        lasted, what = float(request["ms"]), f"{verb} {resource} {request['path'].split('/')[-1]}"
    elif call is not None:
        of = _RUNNER.search(call["who"])
        lasted = float(call["ms"])
        what = f"  {call['call']} of {of[1] if of is not None else 'an idle one'}: {call['answer']}"
    else:
        return None
    ended = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC)
    return ended - timedelta(milliseconds=lasted), lasted, what
