"""What a script tells, and what is never told: logs and secrets."""

import json
import re

from tests.conformance.kit.plan import Step, multi, node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import path

LEVELS = ["debug", "info", "warning", "error", "critical"]


class TestLogs:
    def test_logger_and_print(self, product: Product) -> None:
        lines = [f"logger.{level}('told by {level} é')" for level in LEVELS]
        lines += ["print('printed', 1, [2])", "logger.info('%s of %d', 'one', 2)"]
        run = product.complete({"a": node("\n".join(lines))})
        text = run.logs("a")
        for wanted in [f"told by {level} é" for level in LEVELS] + ["printed 1 [2]", "one of 2"]:
            assert text.count(wanted) == 1, text
        order = [text.index(f"told by {level}") for level in LEVELS]
        assert order == sorted(order)

    def test_by_step(self, product: Product) -> None:
        run = product.complete({"a": multi(Step("print('zero')"), Step("print('one')"))})
        assert "zero" in run.logs("a", step=0)
        assert "one" not in run.logs("a", step=0)
        assert "one" in run.logs("a", step=1)
        whole = run.logs("a")
        assert "zero" in whole
        assert "one" in whole
        url = path("pipelineruns", run.id, "tasks", "a", "do", "logs")
        answer = product.rest.send("GET", url, params={"step": "7"})
        assert answer.status_code in {404, 422} or answer.text == ""
        product.rest.refuse("GET", url, 422, params={"step": "x"})

    def test_of_an_undo(self, product: Product) -> None:
        run = product.run({"a": node("print('forward')\n1 / 0", undo="print('backward')")})
        run.wait("cancelled")
        assert "forward" in run.logs("a", "do")
        assert "backward" in run.logs("a", "undo")
        assert "forward" not in run.logs("a", "undo")

    def test_of_what_never_ran(self, product: Product) -> None:
        run = product.run({"a": node()}, run=False)
        url = path("pipelineruns", run.id, "tasks", "a", "do", "logs")
        answer = product.rest.send("GET", url)
        assert (answer.status_code, answer.text) == (200, "") or answer.status_code == 404

    def test_while_it_runs(self, product: Product) -> None:
        gate = product.gate
        run = product.run({"a": node("print('early')\n" + gate.hold("a") + "print('late')")})
        gate.wait("a")
        run.until(lambda: "early" in run.logs("a"), "the first line is in the log")
        assert "late" not in run.logs("a")
        gate.release("a")
        run.wait("complete")
        assert "late" in run.logs("a")

    def test_follow(self, product: Product) -> None:
        """A stream: a line comes while the script runs, and it ends when the task run does."""
        gate = product.gate
        run = product.run({"a": node("print('early')\n" + gate.hold("a") + "print('late')")})
        gate.wait("a")
        url = path("pipelineruns", run.id, "tasks", "a", "do", "logs")
        told = []
        with product.rest.http.stream("GET", url, params={"follow": "true"}) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                told.append(line)
                if "early" in line:
                    gate.release("a")
        text = "\n".join(told)
        assert text.count("early") == text.count("late") == 1
        run.wait("complete")

    def test_plain_text(self, product: Product) -> None:
        run = product.complete({"a": node("print('<b>é</b>')")})
        url = path("pipelineruns", run.id, "tasks", "a", "do", "logs")
        answer = product.rest.call("GET", url, 200)
        assert answer.headers["content-type"].startswith("text/plain")
        assert "<b>é</b>" in answer.text

    def test_a_lot(self, product: Product) -> None:
        run = product.complete({"a": node("for n in range(3000):\n    print('line', n)")})
        text = run.logs("a")
        assert re.search(r"line 2999\b", text)

    def test_hostile_lines(self, product: Product) -> None:
        script = (
            "print('\\x1b[31m\\x00\\r\\n{%s}' * 3)\nlogger.info('%s %d {0}')\nprint()\nprint('end')"
        )
        run = product.complete({"a": node(script)})
        assert "end" in run.logs("a")


class TestSecrets:
    """A secret of the server is named by `--secret name/key/value`; the embedded one has its own."""

    def test_is_read(self, product: Product, secret: tuple[str, str, str]) -> None:
        name, key, text = secret
        listed = [{"name": "mine", "secret": name, "key": key}]
        script = product.gate.note("length", "[len(secrets['mine']), secrets['mine'][::-1]]")
        product.complete({"a": node(script, secrets=listed)})
        assert product.gate.noted("length") == [len(text), text[::-1]]

    def test_is_never_shown(self, product: Product, secret: tuple[str, str, str]) -> None:
        name, key, text = secret
        listed = [{"name": "mine", "secret": name, "key": key}]
        script = "print('it is', secrets['mine'])\nlogger.info(secrets['mine'])\n"
        script += "params['leak'] = secrets['mine']\nraise ValueError(secrets['mine'])\n"
        run = product.run({"a": node(script, secrets=listed)})
        run.wait("cancelled")
        run.wait_message("run cancelled")
        shown = {
            "log": run.logs("a"),
            "run": json.dumps(run.get()),
            "tasks": json.dumps(list(run.tasks().values())),
            "task": json.dumps(product.rest.get("pipelinetasks", run.planned.tasks["a"])),
            "events": json.dumps([message.body for message in run.messages()]),
        }
        assert [place for place, told in shown.items() if text in told] == []
        assert "it is" in shown["log"]

    def test_only_what_the_task_names(self, product: Product, secret: tuple[str, str, str]) -> None:
        name, key, _ = secret
        listed = [{"name": "mine", "secret": name, "key": key}]
        run = product.run({"a": node("x = secrets['other']", secrets=listed)})
        run.wait("cancelled")
        assert run.task("a")["error"]["type"] == "KeyError"

    def test_one_that_does_not_exist(self, product: Product) -> None:
        """The task fails, or waits to fail; the error names the secret."""
        listed = [{"name": "mine", "secret": "no-such-secret", "key": "nor-key"}]
        nodes = {"a": node("pass", secrets=listed, startTimeout=product.patience.duration(1))}
        run = product.run(nodes)
        run.wait("cancelled")
        assert "no-such-secret" in json.dumps(run.task("a"))
