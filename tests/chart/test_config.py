"""The ConfigMap holds what the operator reads, and says what the values say."""

from pathlib import Path
from typing import Any

from tests.chart.kit.rendering import Json, Rendered, containers, render

from xaas_operator.settings import GatewaySettings, Settings


def settings_of(done: Rendered, folder: Path) -> Settings:
    """The settings as the operator reads them."""
    file = folder / "config.yaml"
    config = done.one("ConfigMap", "xaas-pipeline-operator")["data"]["config.yaml"]
    file.write_text(config)
    return Settings.read(file)


def test_the_operator_reads_it(rendered: Rendered, tmp_path: Path) -> None:
    settings = settings_of(rendered, tmp_path)
    assert settings.namespace == ""  # its pod's
    assert settings.runner.image == rendered.config()["runner"]["image"]


def test_the_names_by_default_are_the_operators_own(default: Rendered, tmp_path: Path) -> None:
    settings = settings_of(default, tmp_path)
    bare = Settings.model_validate({"runner": {"image": "any"}})
    assert settings.lease == bare.lease
    assert settings.gateway == bare.gateway == GatewaySettings()
    assert settings.evaluator == bare.evaluator
    assert settings.runner.keep_finished == bare.runner.keep_finished
    assert settings.runner.warm == bare.runner.warm


def test_every_setting_of_runners_comes_from_a_value(tmp_path: Path) -> None:
    runner: dict[str, Any] = {
        "image": {"repository": "registry.example/runner", "tag": "9", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
        "resources": {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"memory": "2Gi"}},
        "nodeSelector": {"pool": "scripts"},
        "tolerations": [{"key": "scripts", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
        "labels": {"team": "net"},
        "annotations": {"note": "n"},
        "keepFinished": "90m",
        "warm": {"lookahead": 3, "pool": 4, "maxWait": "1m"},
    }
    settings = settings_of(render({"runner": runner, "runAsUser": 1000660000}), tmp_path)
    assert settings.runner.model_dump() == {
        "image": "registry.example/runner:9",
        "image_pull_policy": "Always",
        "image_pull_secrets": ["one", "two"],
        "run_as_user": 1000660000,
        "resources": runner["resources"],
        "node_selector": runner["nodeSelector"],
        "tolerations": runner["tolerations"],
        "priority_class_name": "low",
        "runtime_class_name": "gvisor",
        "labels": runner["labels"],
        "annotations": runner["annotations"],
        "keep_finished": "90m",
        "warm": {"lookahead": 3, "pool": 4, "max_wait": "1m"},
    }
    bare = Settings.model_validate({"runner": {"image": "any"}}).runner.model_dump()
    same = [key for key, value in settings.runner.model_dump().items() if value == bare[key]]
    assert same == []


def test_without_a_user_the_cluster_assigns_one_to_steps_too(tmp_path: Path) -> None:
    settings = settings_of(render({"runAsUser": None}), tmp_path)
    assert settings.runner.of_jobs().user is None


def test_levels_and_modules_come_from_values(tmp_path: Path) -> None:
    values: Json = {"logLevel": "warning", "allowedImports": ["numpy", "xml.etree"]}
    settings = settings_of(render(values), tmp_path)
    assert settings.log_level == "warning"
    (api,) = [spec for key, spec in render(values).pods() if key.endswith("api")]
    assert "--log-level=warning" in api["containers"][0]["args"]
    assert settings.allowed_imports == ["numpy", "xml.etree"]


def test_the_operator_mounts_it_where_it_is_told_to_read_it(default: Rendered) -> None:
    (pod,) = [spec for key, spec in default.pods() if key.endswith("operator")]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "config"]
    assert volume["configMap"]["name"] == "xaas-pipeline-operator"
    (container,) = [each for each in containers(pod) if "--config" in each.get("args", ())]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "config"]
    file = container["args"][container["args"].index("--config") + 1]
    assert file == f"{mount['mountPath']}/config.yaml"
