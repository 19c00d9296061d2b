"""The controller: turns triggers into calls of the reconciler."""

import asyncio
import logging
from collections import Counter
from typing import Final

from xaas_core.admission import Admission
from xaas_core.ports import Conflict, Part, Ports, Unavailable
from xaas_core.queue import KeyedQueue
from xaas_core.reconciler import Reconciler
from xaas_core.tokens import Tokens

RESYNC = 30.0
"""Seconds between looks at every live run, in case a trigger was lost outside of our sight."""

RESYNCED_AT_ONCE = 50
RESYNC_PAUSE = 1.0
"""Of thousands of live runs so many are looked at, then after so many seconds the next ones: what nothing
has happened to mustn't take the time of what moves. A round then takes longer than `RESYNC`."""

BEGUN_WAITS = 0.1
"""Seconds until a step's begin is looked at: of a short one the end is then told in the same write."""

SIGHTED_WAITS = 0.025
"""Seconds until what a launcher has seen is looked at: mostly the end of a runner, which has told of it
itself; and what follows from that goes on meanwhile, and has the run looked at anyway."""

WORKERS = 64
"""Runs worked on at once: many may wait for their conditions, and others must go on meanwhile."""

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.5
"""Seconds between two tries of a decision that others' writes overtake; the first is at once."""

log = logging.getLogger(__name__)


class Controller:
    """Reconciles every live run, for ever."""

    def __init__(
        self,
        ports: Ports,
        tokens: Tokens,
        admission: Admission | None = None,
        workers: int = WORKERS,
    ) -> None:
        self._ports = ports
        self._reconciler = Reconciler(ports, tokens, admission)
        self.queue = KeyedQueue(self._reconcile, self._failed, workers)
        self.looks: Final[Counter[str]] = Counter()
        """Reconciles since the start by what came of them: `done`, `conflict`, `failed`."""

    async def run(self) -> None:
        """Watch and work until cancelled."""
        touches = self._ports.store.touches()  # before the first look: nothing is missed between
        self._ports.launcher.subscribe(lambda uid: self.queue.add_after(uid, SIGHTED_WAITS))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run())
            group.create_task(self._resync())
            async for touch in touches:
                # What the reconciler wrote itself needs no second look: `wake_at` says when.
                if touch.part in (Part.SPEC, Part.RECORD):
                    self.queue.add(touch.run)
                elif touch.part is Part.BEGUN:
                    self.queue.add_after(touch.run, BEGUN_WAITS)

    async def _resync(self) -> None:
        now = asyncio.get_running_loop().time
        pause = 0.0  # the first round is at once: who reconciled before may have stopped midway
        while True:
            began = now()
            try:
                await self._look_at_all(pause)
                pause = RESYNC_PAUSE
            except Unavailable as error:
                log.warning("can't list the live runs: %s", error)
            await asyncio.sleep(max(began + RESYNC - now(), 0))

    async def _look_at_all(self, pause: float) -> None:
        """Look at every live run, with a pause after each few. Raises Unavailable."""
        for number, uid in enumerate(await self._ports.store.live_runs(), 1):
            # What has happened comes first: there may be thousands that nothing happens to.
            self.queue.add_idly(uid)
            if number % RESYNCED_AT_ONCE == 0:
                await asyncio.sleep(pause)

    async def _reconcile(self, uid: str) -> float | None:
        pause, fresh = 0.0, False
        while True:
            try:
                wake_at = await self._reconciler.reconcile(uid, fresh=fresh)
            except Conflict:
                self.looks["conflict"] += 1
                # Somebody else got on: decide again from what they wrote. It may take a moment
                # until that is seen here.
                fresh = True
                if pause >= LONGEST_PAUSE:
                    return pause  # others wait for this worker
                await asyncio.sleep(pause)
                pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
                continue
            self.looks["done"] += 1
            if wake_at is None:
                return None
            return max(wake_at - self._ports.clock.now(), 0) / 1000

    def _failed(self, uid: str, error: Exception) -> None:
        self.looks["failed"] += 1
        if isinstance(error, Unavailable):
            log.warning("run %s waits for the backend: %s", uid, error)
        else:
            log.error("run %s can't be reconciled, trying again", uid, exc_info=error)
