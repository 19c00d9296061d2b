"""Each example ends as its README says."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e


class TestTutorial:
    @pytest.fixture(autouse=True)
    def _applied(self, product: Any) -> None:
        product.apply("tutorial")

    def test_it_completes_and_every_branch_counts(self, product: Any) -> None:
        run = product.run("tutorial", {"customer": "Ada Lovelace", "plan": "fibre-1000"})
        assert run.status == "complete"
        assert set(run.states().values()) == {"succeeded"}
        assert run.delta("4") == {"port.mbit": 1000}
        assert run.delta("10") == {
            "service.address": "203.0.113.22",
            "service.name": "ada-lovelace.customers.example",
            "service.port": 13,
            "service.parcel": "R-C01105",
            "service.monthly": 49.9,
            "service.active": True,
        }
        assert run.log("11") == [
            "Welcome, Ada Lovelace! You are online as ada-lovelace.customers.example."
        ]

    @pytest.mark.parametrize("ref", [str(number) for number in range(1, 12)])
    def test_any_task_may_fail_and_what_began_is_undone(self, product: Any, ref: str) -> None:
        run = product.run("tutorial", {"customer": "Ada", "fail_at": ref})
        assert run.status == "cancelled"
        assert run.states()[ref] == "failed"
        assert run.error(ref) == f"told to fail at {ref} (code 500)"
        began = {ref for ref, state in run.states().items() if state in ("succeeded", "failed")}
        assert set(run.undone()) == began
        entries = product.api.definition("pipelines", "tutorial")["tasks"]
        pairs = [(entry["ref"], before) for entry in entries for before in entry["dependsOn"]]
        assert all(run.undone_before(*pair) for pair in pairs if began >= set(pair))

    @pytest.mark.parametrize("name", ["complete", "rolled-back"])
    def test_its_manifests_of_runs_end_as_they_are_called(self, product: Any, name: str) -> None:
        product.apply(f"tutorial/runs/{name}.yaml")
        run = product.runs("tutorial")[0].settle()
        assert run.status == {"complete": "complete", "rolled-back": "cancelled"}[name]

    def test_undos_leave_params_as_they_were(self, product: Any) -> None:
        run = product.run("tutorial", {"customer": "Ada", "fail_at": "10"})
        assert set(run.undone()) == set(run.states()) - {"11"}
        assert run.undone()[0] == "10"
        assert run.undone()[-2:] == ["2", "1"]
        assert set(run.tasks["1", "undo"]["input"]) == {"customer", "fail_at", "order"}
        assert run.delta("1", "undo") == {"order": None}
        assert run.log("3", "undo") == ["port 4 is free again"]


class TestRollback:
    @pytest.fixture(autouse=True)
    def _applied(self, product: Any) -> None:
        product.apply("rollback")

    def test_it_completes(self, product: Any) -> None:
        run = product.run("launch-service", {})
        assert run.status == "complete"
        assert run.delta("register") == {"registered": "vm-1@198.51.100.1"}

    def test_branches_are_undone_side_by_side_each_in_reverse(self, product: Any) -> None:
        run = product.run("launch-service", {"break": "check"})
        assert run.status == "cancelled"
        assert run.undone()[0] == "register"
        assert run.undone_before("disk", "machine")
        assert set(run.undone()) == {"register", "disk", "machine", "network"}
        states = run.states("undo")
        assert [states[ref] for ref in ("announce", "check", "plan")] == ["skipped"] * 3
        assert run.states()["announce"] == "pending"
        assert run.log("network", "undo") == [
            "firewall closed",
            "gateway removed",
            "subnet deleted",
        ]

    def test_a_task_that_fails_half_way_is_undone_as_far_as_it_came(self, product: Any) -> None:
        run = product.run("launch-service", {"break": "network"})
        assert run.status == "cancelled"
        assert run.error("network") == "the firewall refuses the subnet (code 409)"
        assert run.tasks["network", "do"]["error"]["step"] == 2
        assert [step["status"] for step in run.tasks["network", "do"]["steps"]] == [
            "succeeded",
            "succeeded",
            "failed",
        ]
        assert run.log("network", "undo") == [
            "firewall closed",
            "gateway removed",
            "subnet deleted",
        ]
        assert run.states("undo")["register"] == "skipped"

    def test_somebody_decides(self, product: Any) -> None:
        run = product.run("launch-service", {"break": "check"}, autoRollback=False)
        assert run.status == "aborted"
        assert set(run.states("undo").values()) == {"pending"}
        assert run.operate("cancel").status == "cancelled"
        assert set(run.undone()) == {"register", "disk", "machine", "network"}


class TestConditions:
    @pytest.fixture(autouse=True)
    def _applied(self, product: Any) -> None:
        product.apply("conditions")

    @pytest.mark.parametrize(
        ("parameters", "skipped", "done"),
        [
            ({"vendor": "cisco", "ports": [1, 2, 3]}, {"juniper", "engineer"}, "IOS XE 17.12"),
            ({"vendor": "juniper", "ports": [1]}, {"cisco", "engineer", "ports"}, "Junos 24.2"),
            ({"vendor": "acme"}, {"cisco", "juniper", "ports"}, "upgrade a acme router by hand"),
        ],
    )
    def test_what_does_not_hold_is_skipped(
        self, product: Any, parameters: dict[str, Any], skipped: set[str], done: str
    ) -> None:
        run = product.run("upgrade-router", parameters)
        assert run.status == "complete"
        assert {ref for ref, state in run.states().items() if state == "skipped"} == skipped
        assert run.delta("close") == {"done": done}

    @pytest.mark.parametrize(
        ("parameters", "error"),
        [({}, "KeyError"), ({"vendor": "cisco", "ports": 17}, "TypeError")],
    )
    def test_without_what_it_needs_it_fails(
        self, product: Any, parameters: dict[str, Any], error: str
    ) -> None:
        run = product.run("upgrade-router", parameters)
        assert run.status == "cancelled"
        assert run.tasks["inspect", "do"]["error"]["type"] == error
        assert run.tasks["inspect", "do"]["error"]["line"] == 2


class TestCallout:
    @pytest.fixture(autouse=True)
    def _applied(self, product: Any) -> None:
        product.apply("callout")

    def test_the_report_is_stored_and_the_rollback_deletes_it(
        self, product: Any, inventory: str
    ) -> None:
        run = product.run("survey", {"api": inventory})
        assert run.status == "complete"
        reports = httpx.get(f"{inventory}/reports").json()
        assert [report["busiest"]["name"] for report in reports.values()] == ["edge-2"]
        assert run.delta("send") == {"report": "1"}
        assert run.operate("rollback").status == "cancelled"
        assert run.undone() == ["send"]
        assert httpx.get(f"{inventory}/reports").json() == {}

    def test_a_refusal_is_an_answer_that_the_script_judges(
        self, product: Any, inventory: str
    ) -> None:
        run = product.run("survey", {"api": inventory, "limit": 0.5})
        assert run.status == "cancelled"
        assert run.error("send") == "edge-2 is beyond the limit (code 422)"
        assert run.undone() == ["send"]
        assert run.log("send", "undo") == []

    def test_without_the_service_it_tries_three_times(self, product: Any) -> None:
        run = product.run("survey", {"api": "http://127.0.0.1:1"})  # nobody listens there
        assert run.status == "cancelled"
        assert len(run.tasks["list", "do"]["attempts"]) == 3


class TestNetworkChange:
    @pytest.fixture(autouse=True)
    def _applied(self, product: Any) -> None:
        product.apply("network-change")

    def vlans(self, devices: str) -> dict[str, set[str]]:
        shown = httpx.get(f"{devices}/devices").json()
        return {name: set(device["vlans"]) for name, device in shown.items()}

    def break_(self, devices: str, value: bool) -> None:
        httpx.put(f"{devices}/devices/edge-1/broken", json=value).raise_for_status()

    def test_the_vlan_is_on_every_device(self, product: Any, devices: str) -> None:
        run = product.run("add-vlan", {"api": devices, "vlan": 42, "name": "guests"})
        assert run.status == "complete"
        assert set(map(frozenset, self.vlans(devices).values())) == {frozenset({"1", "42"})}
        assert run.delta("verify") == {
            "verified": ["core-1", "east-1", "east-2", "edge-1", "west-1"]
        }
        again = product.run("add-vlan", {"api": devices, "vlan": 42})
        assert again.status == "cancelled"
        assert again.error("check").startswith("VLAN 42 is in use on core-1")
        assert again.undone() == []
        assert all("42" in vlans for vlans in self.vlans(devices).values())

    def test_the_last_device_fails_and_the_vlan_is_removed_everywhere(
        self, product: Any, devices: str
    ) -> None:
        product.run("add-vlan", {"api": devices, "vlan": 42})
        self.break_(devices, True)
        run = product.run("add-vlan", {"api": devices, "vlan": 77})
        assert run.status == "cancelled"
        assert run.error("edge-1") == "edge-1: commit failed, out of memory (code 500)"
        assert run.undone()[0] == "edge-1"
        assert run.undone()[-1] == "core-1"
        assert run.undone_before("east-2", "east-1")
        assert run.undone_before("east-1", "core-1")
        assert run.undone_before("west-1", "core-1")
        assert run.states("undo")["verify"] == run.states("undo")["check"] == "skipped"
        assert set(map(frozenset, self.vlans(devices).values())) == {frozenset({"1", "42"})}

    def test_repaired_it_goes_on_where_it_failed(self, product: Any, devices: str) -> None:
        self.break_(devices, True)
        run = product.run("add-vlan", {"api": devices, "vlan": 77}, autoRollback=False)
        assert run.status == "aborted"
        assert "77" in self.vlans(devices)["edge-1"]  # what the failed do left behind
        first = run.tasks["core-1", "do"]["attempts"]
        self.break_(devices, False)
        assert run.operate("recovery").status == "complete"
        assert run.tasks["core-1", "do"]["attempts"] == first
        assert len(run.tasks["edge-1", "do"]["attempts"]) == 2
        assert all("77" in vlans for vlans in self.vlans(devices).values())


class TestChildRuns:
    @pytest.fixture(autouse=True)
    def _applied(self, product: Any) -> None:
        product.apply("child-runs")

    def test_every_site_has_a_run_of_its_own(self, product: Any) -> None:
        run = product.run("open-sites", {"sites": ["berlin", "oslo", "rome"]})
        assert run.status == "complete"
        delta = run.delta("set-up")
        sites = ["berlin", "oslo", "rome"]
        assert [delta[f"states.{site}"] for site in sites] == ["complete"] * 3
        children = [child for child in product.runs("set-up-site") if child.id in delta.values()]
        assert sorted(child.shown["parameters"]["site"] for child in children) == sites
        assert [line.rpartition(" INFO ")[2] for line in run.log("measure")] == [
            f"{site} answers in {5 + len(site)} ms" for site in sites
        ]

    def test_a_child_that_fails_takes_back_the_others(self, product: Any) -> None:
        run = product.run("open-sites", {"sites": ["berlin", "atlantis"]})
        assert run.status == "cancelled"
        assert run.error("set-up") == "not set up: atlantis (code 500)"
        assert run.undone() == ["set-up"]
        delta = run.delta("set-up")
        children = {
            child.shown["parameters"]["site"]: child
            for child in product.runs("set-up-site")
            if child.id in delta.values()
        }
        assert {site: child.status for site, child in children.items()} == {
            "berlin": "cancelled",
            "atlantis": "cancelled",
        }
        assert children["berlin"].undone() == ["link", "rack"]
        assert children["atlantis"].error("link") == "there is no cable to atlantis (code 404)"
