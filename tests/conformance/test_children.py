"""Runs started by scripts: PipelineRun and SDKRunner."""

from typing import Any

from tests.conformance.kit.oracle import Planned
from tests.conformance.kit.plan import Nodes, node
from tests.conformance.kit.product import Product
from tests.conformance.kit.run import Run


def child(product: Product, nodes: Nodes) -> tuple[Planned, str]:
    planned = product.pipeline(nodes)
    return planned, repr(planned.pipeline)


def told(product: Product, script: str, expression: str) -> Any:
    """A parent run whose script ends by telling an expression."""
    product.complete({"parent": node(script + product.gate.note("told", expression))})
    return product.gate.noted("told")


def judged(product: Product, run_id: str, planned: Planned) -> Run:
    return product.adopt(run_id, planned)


class TestPipelineRun:
    def test_create_run_wait(self, product: Product) -> None:
        planned, name = child(product, {"a": node("params['y'] = params['x'] + 1")})
        script = (
            f"p = await PipelineRun.create({name}, parameters={{'x': 1}})\n"
            "await p.run()\nstate = await p.waitfor()\n"
        )
        run_id, state = told(product, script, "[p.instance_id, state]")
        assert state == "complete"
        run = judged(product, run_id, planned)
        assert run.get()["parameters"] == {"x": 1}
        assert run.task("a")["input"] == {"x": 1}

    def test_create_alone_leaves_it_pending(self, product: Product) -> None:
        planned, name = child(product, {"a": node()})
        script = f"p = await PipelineRun.create({name}, parameters={{}})\n"
        run = judged(product, told(product, script, "p.instance_id"), planned)
        assert run.status() == "pending"

    def test_create_with_run(self, product: Product) -> None:
        planned, name = child(product, {"a": node()})
        script = f"p = await PipelineRun.create({name}, parameters={{}}, run=True)\n"
        run = judged(product, told(product, script, "p.instance_id"), planned)
        run.wait("complete")

    def test_parameters_are_optional(self, product: Product) -> None:
        planned, name = child(product, {"a": node()})
        script = f"p = await PipelineRun.create({name}, run=True)\nstate = await p.waitfor()\n"
        run_id, state = told(product, script, "[p.instance_id, state]")
        assert state == "complete"
        assert judged(product, run_id, planned).get()["parameters"] == {}

    def test_a_failure(self, product: Product) -> None:
        """`waitfor` gives the state at rest; it doesn't raise."""
        planned, name = child(product, {"a": node("1 / 0", undo="pass")})
        script = f"p = await PipelineRun.create({name}, run=True)\nstate = await p.waitfor()\n"
        run_id, state = told(product, script, "[p.instance_id, state]")
        assert state == "cancelled"
        judged(product, run_id, planned)

    def test_recovery_and_cancel(self, product: Product) -> None:
        gate = product.gate
        planned, name = child(
            product,
            {
                "a": node(undo=gate.fails("undo a", 1)),
                "b": node(gate.fails("b", 2), after="a"),
            },
        )
        script = (
            f"p = await PipelineRun.create({name}, run=True)\nfirst = await p.waitfor()\n"
            "await p.recovery()\nsecond = await p.waitfor()\n"
        )
        run_id, *states = told(product, script, "[p.instance_id, first, second]")
        assert states == ["aborted", "cancelled"]
        judged(product, run_id, planned)

    def test_cancel(self, product: Product) -> None:
        planned, name = child(product, {"a": node()})
        script = (
            f"p = await PipelineRun.create({name})\nawait p.cancel()\nstate = await p.waitfor()\n"
        )
        run_id, state = told(product, script, "[p.instance_id, state]")
        assert state == "cancelled"
        judged(product, run_id, planned)

    def test_load(self, product: Product) -> None:
        run = product.run({"a": node()}, run=False)
        script = (
            f"p = await PipelineRun.load({run.id!r})\nawait p.run()\nstate = await p.waitfor()\n"
        )
        assert told(product, script, "[p.instance_id, state]") == [run.id, "complete"]

    def test_an_unknown_pipeline(self, product: Product) -> None:
        name = product.name("nowhere")
        run = product.run({"a": node(f"await PipelineRun.create({name!r})")})
        run.wait("cancelled")
        assert name in run.task("a")["error"]["message"]

    def test_an_unknown_run(self, product: Product) -> None:
        run = product.run({"a": node("await PipelineRun.load('nowhere')")})
        run.wait("cancelled")
        assert run.task("a")["error"]["message"]

    def test_a_refused_operation(self, product: Product) -> None:
        done = product.complete({"a": node()})
        script = f"p = await PipelineRun.load({done.id!r})\nawait p.recovery()\n"
        run = product.run({"a": node(script)})
        run.wait("cancelled")
        assert "complete" in run.task("a")["error"]["message"]
        assert done.status() == "complete"

    def test_several_at_once(self, product: Product) -> None:
        planned, name = child(product, {"a": node("params['y'] = params['x'] * 2")})
        script = (
            "async def one(n):\n"
            f"    p = await PipelineRun.create({name}, parameters={{'x': n}}, run=True)\n"
            "    return [p.instance_id, await p.waitfor()]\n"
            "done = await asyncio.gather(*[one(n) for n in range(3)])\n"
        )
        done = told(product, script, "list(done)")
        assert [state for _, state in done] == ["complete"] * 3
        assert len({run_id for run_id, _ in done}) == 3
        for run_id, _ in done:
            judged(product, run_id, planned)

    def test_an_undo_starts_one(self, product: Product) -> None:
        gate = product.gate
        planned, name = child(product, {"a": node()})
        undo = (
            f"p = await PipelineRun.create({name}, run=True)\nstate = await p.waitfor()\n"
            + gate.note("child", "[p.instance_id, state]")
        )
        run = product.run({"a": node(undo=undo), "b": node("1 / 0", after="a")})
        run.wait("cancelled")
        run_id, state = gate.noted("child")
        assert state == "complete"
        judged(product, run_id, planned)


class TestSdkRunner:
    def test_a_task_on_its_own(self, product: Product) -> None:
        gate = product.gate
        task = product.task(gate.note("it ran", "params"))
        script = (
            f"runner = await SDKRunner.load()\nid = await runner.{task}(x=1, y=['z'])\n"
            "state = await runner.waitfor()\n"
        )
        run_id, state = told(product, script, "[id, state]")
        assert state == "succeeded"
        assert run_id
        assert gate.noted("it ran") == {"x": 1, "y": ["z"]}

    def test_its_logs(self, product: Product) -> None:
        task = product.task("print('first')\nlogger.info('second')")
        script = (
            f"runner = await SDKRunner.load()\nid = await runner.{task}()\n"
            "await runner.waitfor()\nlogs = await runner.logs()\n"
        )
        logs = told(product, script, "logs")
        assert len(logs) == 1
        key, lines = logs.popitem()
        assert key.count(".") >= 1
        assert isinstance(lines, list)
        assert "first" in lines[0]
        assert "second" in lines[1]

    def test_one_that_fails(self, product: Product) -> None:
        task = product.task("1 / 0")
        script = (
            f"runner = await SDKRunner.load()\nawait runner.{task}()\n"
            "try:\n    state = await runner.waitfor()\nexcept Exception as e:\n    state = str(e)\n"
        )
        assert "failed" in told(product, script, "state")

    def test_an_unknown_task(self, product: Product) -> None:
        name = product.name("nowhere")
        run = product.run({"a": node(f"runner = await SDKRunner.load()\nawait runner.{name}()")})
        run.wait("cancelled")
        assert name in run.task("a")["error"]["message"]

    def test_one_after_the_other(self, product: Product) -> None:
        gate = product.gate
        tasks = [product.task(gate.note(key, "params")) for key in ("one", "two")]
        script = "runner = await SDKRunner.load()\nstates = []\n"
        for number, task in enumerate(tasks):
            script += f"await runner.{task}(n={number})\nstates.append(await runner.waitfor())\n"
        assert told(product, script, "states") == ["succeeded", "succeeded"]
        assert (gate.noted("one"), gate.noted("two")) == ({"n": 0}, {"n": 1})
