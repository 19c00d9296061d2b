"""The embedded launcher: one process per step, forked from the warm process.

Theory of operation. A launch is noted in the journal with a slot of its own, then its first step's
process is asked for. When a process has ended in order (exit code 0) the next step's is; anything
else ends the launch: the gateway knows what was recorded, and the engine draws the conclusions. A
launch is `live` from being noted until its last process is surely gone; then its slot is free.

Nothing here has to survive but the journal and the slots' lock files (`launches.py`). If the warm
process dies, or the server does, whoever comes next looks at the lock of every launch's slot:

    held                        its process lives: watch it until it is gone
    free, with pid and code     it ended in order: the next step, or over
    free, with a pid            it ended out of order: over
    free, or another process's  there never was one: ask for it (again)

A process that was asked for twice all the same can't do any harm: only one gets the lock, and the
gateway lets only one begin.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from xaas_core.engine.facts import Key, Phase, Sighting
from xaas_core.engine.states import Reason
from xaas_core.ports import LaunchOrder, RunnerKey, Unavailable
from xaas_local.companion import Companion, Message
from xaas_local.data import DataDir
from xaas_local.ended import EndedLaunches
from xaas_local.launches import Launches, LaunchState, Stage
from xaas_local.limits import DEFAULTS, Limits, limits_of
from xaas_local.logs import log_path
from xaas_local.process_watch import ProcessWatch
from xaas_local.secret_values import SecretUnusable, read_secret
from xaas_runner.contract import LAST_EXIT

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
"""Seconds until a process is asked for again that couldn't be made; doubled each time."""

log = logging.getLogger(__name__)


@dataclass
class _Live:
    """A launch that isn't over, as far as it is known to this server only."""

    state: LaunchState
    asked: bool = False  # the warm process was asked for the newest process
    watch: ProcessWatch | None = None  # the newest process isn't the present warm one's child
    kill_at: float | None = None  # it is being ended; by the loop's clock
    timer: asyncio.TimerHandle | None = None  # for that
    retry: asyncio.TimerHandle | None = None  # waits before it is asked for again
    delay: float = FIRST_DELAY
    trouble: str = ""  # why it couldn't be made
    forgotten: bool = False  # its run is removed


class ProcessLauncher:
    """Implements `xaas_core.ports.Launcher`. From one event loop, between `start_up` and `close`.

    `gateway` is where runners call (`unix:<path>`); `environment` is where secrets are looked for.
    """

    def __init__(
        self,
        data: DataDir,
        gateway: str,
        *,
        environment: Mapping[str, str] = os.environ,
        defaults: Limits = DEFAULTS,
    ) -> None:
        self._data = data
        self._gateway = gateway
        self._environment = environment
        self._defaults = defaults
        self._launches = Launches(data)
        self._live: dict[str, dict[RunnerKey, _Live]] = {}
        self._by_process: dict[str, _Live] = {}
        self._free: set[int] = set()  # slots: with those of the live launches, all from 0 on
        self._ended = EndedLaunches()
        self._subscribers: list[Callable[[str], None]] = []
        self._warm = Companion("warm", self._hear, up=self._on_up, down=self._on_down)
        self._open = False

    # ----------------------------------------------------------------------------- start and end

    async def start_up(self) -> None:
        """Take over what still runs, and start the warm process. Raises Unavailable."""
        self._open = True
        try:
            states = self._launches.open()
        except OSError as error:
            raise Unavailable(f"the journal of launches can't be used: {error}") from error
        for state in states:
            if state.stage is Stage.LIVE:
                self._add(state)
            else:
                self._ended.add(state)
        used = {live.state.slot for live in self._by_process.values()}
        self._free = set(range(max(used, default=0))) - used
        for live in list(self._by_process.values()):
            self._look(live)
        self._data.clean_scratch(set(self._by_process))
        await self._warm.start_up()

    async def close(self) -> None:
        """Leave the runners alone: they go on, and report to the server that comes next."""
        self._open = False
        for live in self._by_process.values():
            self._let_go(live)
        await self._warm.close()
        self._launches.close()

    # ----------------------------------------------------------------------------------- the port

    async def start(self, *orders: LaunchOrder) -> None:
        """See the port."""
        self._check_open()
        for order in orders:
            self._start(order)

    def _start(self, order: LaunchOrder) -> None:
        key = RunnerKey(order.run, order.ref, order.side, order.attempt, order.launch)
        if key in self._live.get(order.run, ()) or self._ended.get(key) is not None:
            return
        state = self._state(key, order)
        try:
            self._launches.note(state)
        except OSError as error:
            raise Unavailable(f"the runner {state.name} can't be noted: {error}") from error
        if state.stage is Stage.LIVE:
            self._ask(self._add(state))
        else:
            self._ended.add(state)
            self._changed(order.run)

    async def prepare(self, *orders: LaunchOrder) -> None:
        """See the port. A fork takes milliseconds: nothing is started ahead."""

    async def end(self, runner: RunnerKey, grace: int, *, begun: bool = False) -> None:
        """See the port."""
        self._check_open()
        live = self._live.get(runner.run, {}).get(runner)
        if live is not None:
            self._end(live, grace / 1000)

    async def sight(self, run: str, runners: Collection[RunnerKey]) -> dict[Key, Sighting]:
        """See the port. An older runner of a task run is told as long as it lives."""
        self._check_open()
        live = self._live.get(run, {})
        oldest: dict[Key, _Live] = {}
        for known, each in live.items():
            oldest.setdefault((known.ref, known.side), each)
        told = {key: each.state.sighting() for key, each in oldest.items()}
        for runner in runners:
            key = (runner.ref, runner.side)
            told[key] = self._sight(runner, live.get(runner) or oldest.get(key))
        return told

    async def release(self, runner: RunnerKey) -> None:
        """See the port. Nothing is held: the journal forgets by itself."""

    async def forget(self, run: str) -> None:
        """See the port. What should still run is killed."""
        self._check_open()
        for live in list(self._live.get(run, {}).values()):
            live.forgotten = True
            self._end(live, 0)
        self._forget(run)
        await asyncio.to_thread(shutil.rmtree, self._data.logs / run, ignore_errors=True)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """See the port."""
        self._subscribers.append(changed)

    # --------------------------------------------------------------------------- from start to end

    def _state(self, key: RunnerKey, order: LaunchOrder) -> LaunchState:
        task = order.task
        state = LaunchState(key, order.steps, order.token, *self._defaults, task.secrets)
        try:
            limits = limits_of(task, self._defaults)
            self._secrets(state)
        except SecretUnusable as error:
            return _refused(state, Reason.NOT_STARTED, str(error))
        except ValueError as error:
            return _refused(state, Reason.INVALID_JOB, str(error))
        slot = next(iter(self._free), len(self._by_process))
        return replace(state, memory=limits.memory, cpu=limits.cpu, slot=slot)

    def _secrets(self, state: LaunchState) -> dict[str, str]:
        folder = self._data.secrets
        return {ref.name: read_secret(ref, folder, self._environment) for ref in state.secrets}

    def _add(self, state: LaunchState) -> _Live:
        live = _Live(state)
        self._live.setdefault(state.runner.run, {})[state.runner] = live
        self._by_process[state.process] = live
        self._free.discard(state.slot)
        return live

    def _ask(self, live: _Live) -> None:
        """Ask for the process of the step whose turn it is; again later if that can't be now."""
        live.retry = None
        if live.kill_at is not None:
            self._over(live, message=live.trouble)
            return
        state = live.state
        try:
            secrets = self._secrets(state)
        except SecretUnusable as error:
            live.state = _refused(state, Reason.NOT_STARTED, str(error))
            self._over(live)
            return
        live.asked = self._warm.send(
            {
                "call": "spawn",
                "id": state.process,
                "gateway": self._gateway,
                "token": state.token,
                "step": state.step,
                "log_path": str(log_path(self._data, state.runner, state.step)),
                "lock_path": str(self._launches.lock_path(state)),
                "scratch": str(self._data.scratch / state.process),
                "secrets": secrets,
                "limits": {"memory_bytes": state.memory, "cpu_seconds": state.cpu},
            }
        )

    def _ask_later(self, live: _Live, trouble: str) -> None:
        log.warning("the runner %s can't be started yet: %s", live.state.process, trouble)
        live.trouble = f"no process could be started: {trouble}"
        live.asked = False
        if live.kill_at is not None:
            self._over(live, message=live.trouble)
            return
        loop = asyncio.get_running_loop()
        live.retry = loop.call_later(live.delay, self._ask, live)
        live.delay = min(2 * live.delay, LONGEST_DELAY)

    def _next(self, live: _Live) -> None:
        """A process has ended in order: the next step's turn."""
        del self._by_process[live.state.process]
        live.state = replace(live.state, position=live.state.position + 1)
        live.asked, live.trouble, live.delay = False, "", FIRST_DELAY
        self._by_process[live.state.process] = live
        self._ask(live)

    def _over(
        self, live: _Live, reason: Reason = Reason.NONE, message: str = "", *, traced: bool = False
    ) -> None:
        """The end of a launch; `traced`: what its process left in the slot tells it all."""
        self._let_go(live)
        state = live.state
        if state.stage is Stage.LIVE:
            state = replace(state, stage=Stage.OVER, reason=reason, message=message)
        if not traced:
            with contextlib.suppress(OSError):  # the disk is full: it will be merely gone
                self._launches.note(state)
        of = state.runner
        del self._by_process[state.process]
        self._free.add(state.slot)
        del self._live[of.run][of]
        if not self._live[of.run]:
            del self._live[of.run]
        if live.forgotten:
            self._forget(of.run)
            shutil.rmtree(self._data.logs / of.run, ignore_errors=True)
        else:
            self._ended.add(state)
        self._changed(of.run)

    def _forget(self, run: str) -> None:
        self._ended.forget(run)
        if run not in self._live:
            with contextlib.suppress(OSError):  # the disk is full: it is kept until a next start
                self._launches.forget(run)

    def _let_go(self, live: _Live) -> None:
        for handle in (live.timer, live.retry):
            if handle is not None:
                handle.cancel()
        if live.watch is not None:
            live.watch.stop()
            live.watch = None

    # ------------------------------------------------------------------------- what became of them

    def _sight(self, runner: RunnerKey, live: _Live | None) -> Sighting:
        if live is not None:
            return live.state.sighting()
        ended = self._ended.get(runner)
        if ended is not None:
            return ended.sighting()
        return Sighting(runner.attempt, runner.launch, Phase.ABSENT)

    def _look(self, live: _Live) -> None:
        """Find out by the lock what became of a process that may not be the warm one's child."""
        live.watch = None
        trace = self._launches.trace(live.state)
        if trace.held:
            live.watch = ProcessWatch(trace.pid, lambda: self._look(live))
            if self._launches.trace(live.state).held:
                self._push(live)
                return
            # It ended meanwhile, and its pid may be somebody else's: look again.
            live.watch.stop()
            self._look(live)
            return
        if trace.pid is None:
            live.asked = False
            self._ask(live)
            return
        shutil.rmtree(self._data.scratch / live.state.process, ignore_errors=True)
        if trace.code is None:
            self._over(live, message="" if live.kill_at is not None else "the process is gone")
        else:
            self._exited(live, {"code": trace.code})

    def _exited(self, live: _Live, end: Mapping[str, Any]) -> None:
        code = end.get("code")
        last = live.state.position + 1 >= len(live.state.steps)
        if live.kill_at is not None:
            self._over(live)
        elif code == 0 and not last:
            self._next(live)
        elif code in (0, LAST_EXIT):
            self._over(live, traced=True)
        else:
            self._over(live, *_why(live.state, end))

    # ------------------------------------------------------------------------------------- ending

    def _end(self, live: _Live, grace: float) -> None:
        if not live.asked and live.watch is None:
            live.kill_at = 0.0
            self._over(live, message=live.trouble)
            return
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + grace
        if live.kill_at is not None and live.kill_at <= kill_at:
            return
        if live.timer is not None:
            live.timer.cancel()
        live.kill_at = kill_at
        live.timer = loop.call_at(kill_at, self._kill, live)
        self._push(live)

    def _kill(self, live: _Live) -> None:
        live.kill_at = 0.0  # not left to the clock: a timer may come a little early
        self._push(live)

    def _push(self, live: _Live) -> None:
        """Send what is due to a process that is to end: SIGTERM, later SIGKILL."""
        if live.kill_at is None:
            return
        due = asyncio.get_running_loop().time() >= live.kill_at
        number = signal.SIGKILL if due else signal.SIGTERM
        if live.watch is None:
            self._warm.send({"call": "kill", "id": live.state.process, "signal": int(number)})
            return
        trace = self._launches.trace(live.state)
        if trace.held and trace.pid is not None:
            # Its lock is held, so the pid is still its own; it leads a session of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(trace.pid, number)

    # --------------------------------------------------------------------------- the warm process

    def _hear(self, message: Message) -> None:
        live = self._by_process.get(message.get("id") or "")
        if live is None or live.watch is not None:
            return
        event = message.get("event")
        if event == "exited":
            self._exited(live, message)
        elif event == "refused" and live.asked:
            # Perhaps it has been there all along: asked for by a warm process that is gone.
            trace = self._launches.trace(live.state)
            if trace.held or trace.pid is not None:
                self._look(live)
            else:
                self._ask_later(live, str(message.get("error")))

    def _on_up(self) -> None:
        for live in list(self._by_process.values()):
            if not live.asked and live.watch is None and live.retry is None:
                # Not merely ask: a warm process that is gone may have been the last to hear of it.
                self._look(live)

    def _on_down(self) -> None:
        if not self._open:
            return
        for live in list(self._by_process.values()):
            if live.asked and live.watch is None:
                self._look(live)

    def _changed(self, run: str) -> None:
        for changed in self._subscribers:
            changed(run)

    def _check_open(self) -> None:
        if not self._open:
            raise Unavailable("the launcher isn't started")


def _refused(state: LaunchState, reason: Reason, message: str) -> LaunchState:
    return replace(state, stage=Stage.REFUSED, reason=reason, message=message)


def _why(state: LaunchState, end: Mapping[str, Any]) -> tuple[Reason, str]:
    number = end.get("signal")
    if end.get("cpu_hint"):
        return Reason.CPU_LIMIT, f"killed for its CPU time: more than {state.cpu} s"
    if number is None:
        return Reason.NONE, f"exit code {end.get('code')}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "of unknown name"
    if end.get("oom_hint"):
        return Reason.OUT_OF_MEMORY, f"killed by signal {number} ({name}), most likely for memory"
    return Reason.NONE, f"killed by signal {number} ({name})"
