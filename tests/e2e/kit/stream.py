"""A receiver of notifications that changes replicas, as one behind a load balancer does.

It goes on from its last cursor wherever it comes to, drops ids that it knows, and remembers all else.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable

import httpx
from tests.conformance.kit.events import Message, frames


class Receiver:
    """Reads `/events` of a namespace in a thread. `next_url` says where to connect, each time;
    after `turn` messages it leaves (0: it stays as long as it is served)."""

    def __init__(
        self, next_url: Callable[[], str], token: str, namespace: str, turn: int = 0
    ) -> None:
        self._next_url = next_url
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        self._namespace = namespace
        self._turn = turn
        self._cursor = ""
        self._stopped = False
        self._changed = threading.Condition()
        self._known: set[str] = set()
        self._runs: defaultdict[str, list[Message]] = defaultdict(list)
        self.connections: list[str] = []
        self.troubles: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._wait(lambda: bool(self.connections), 20), "GET /events gives no stream"

    def close(self) -> None:
        """Listen no more."""
        self._stopped = True
        self._thread.join(5)

    def of(self, run: str) -> list[Message]:
        """What came of a run, each once, in the order of arrival."""
        with self._changed:
            return list(self._runs[run])

    def wait(self, run: str, brief: str, within: float) -> None:
        """Until it was told, e.g. `run complete`, of a run."""
        came = self._wait(lambda: any(each.brief == brief for each in self._runs[run]), within)
        assert came, f"{brief!r} of {run} wasn't told: {[each.brief for each in self.of(run)]}"

    def _wait(self, condition: Callable[[], bool], within: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, within)

    def _listen(self) -> None:
        while not self._stopped:
            try:
                self._follow(self._next_url())
            except (httpx.HTTPError, OSError) as error:  # which is allowed: a replica went away
                self.connections.append(f"{type(error).__name__}: {error}")
                time.sleep(0.2)

    def _follow(self, url: str) -> None:
        headers = self._headers | ({"Last-Event-ID": self._cursor} if self._cursor else {})
        # Heartbeats come every 15 s; a shorter wait for them lets `close` be quick.
        timeout = httpx.Timeout(10, read=2)
        with httpx.stream(
            "GET",
            f"{url}/events",
            params={"namespace": self._namespace},
            headers=headers,
            timeout=timeout,
            trust_env=False,
        ) as response:
            response.raise_for_status()
            came = 0
            for cursor, body in frames(response.iter_lines()):
                self._cursor = cursor or self._cursor
                with self._changed:
                    if body is None:
                        self.connections.append(url)
                    else:
                        came += self._take(Message(cursor, body))
                    self._changed.notify_all()
                if self._stopped or came == self._turn != 0:
                    return

    def _take(self, message: Message) -> bool:
        """Whether it is new."""
        if message.id in self._known:
            return False
        self._known.add(message.id)
        before = self._runs[message.run]
        expected = len(before) + 1
        if message.body["sequence"] != expected:
            self.troubles.append(f"{message.body} came as number {expected} of its run")
        before.append(message)
        return True
