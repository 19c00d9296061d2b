import io
from pathlib import Path

import pytest

from xaas_cli.documents import Document, Kind, load, load_object, parse
from xaas_cli.failures import Misuse, Place

MANIFEST = """\
apiVersion: xaas.dev/v1alpha1
kind: {kind}
metadata:
  name: one
spec:
  category: x
"""


def one(text: str) -> Document:
    [document] = parse(text, "f.yaml")
    return document


def test_a_manifest_takes_its_name_from_its_metadata() -> None:
    document = one(MANIFEST.format(kind="PipelineTask") + "  steps: []\n")
    assert document.kind is Kind.TASK
    assert document.body == {"category": "x", "steps": [], "name": "one"}
    assert document.namespace is None


def test_a_manifests_own_name_wins() -> None:
    text = MANIFEST.format(kind="Pipeline") + "  name: Eins/é\n  tasks: []\n"
    assert one(text).body["name"] == "Eins/é"


def test_a_manifest_may_name_its_namespace() -> None:
    text = MANIFEST.format(kind="Pipeline").replace("name: one", "name: one\n  namespace: here")
    assert one(text).namespace == "here"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{category: x, name: n, steps: []}", Kind.TASK),
        ("{category: x, name: n, tasks: []}", Kind.PIPELINE),
        ("{name: n, parameters: {}}", Kind.RUN),
    ],
)
def test_a_plain_document_is_known_by_its_fields(text: str, kind: Kind) -> None:
    document = one(text)
    assert document.kind is kind
    assert document.body["name"] == "n"
    assert document.label is None


def test_a_runs_operation_becomes_rests_run() -> None:
    text = (
        "apiVersion: xaas.dev/v1alpha1\nkind: PipelineRun\nmetadata: {name: tonight}\n"
        "spec: {name: tutorial, parameters: {a: 1}, operation: {name: run, id: x}}\n"
    )
    document = one(text)
    assert document.body == {"name": "tutorial", "parameters": {"a": 1}, "run": True}
    assert document.name == document.label == "tonight"


def test_what_kubectl_adds_is_no_obstacle() -> None:
    item = MANIFEST.format(kind="Pipeline") + "  tasks: []\nstatus: {conditions: []}\n"
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + item.replace("\n", "\n  ")
    assert one(listed).body == {"category": "x", "name": "one", "tasks": []}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "f.yaml:1: document 1: must be an object, not a list"),
        ("just text", "f.yaml:1: document 1: must be an object, not text"),
        (
            "{a: 1, b: 2}",
            "f.yaml:1: document 1: is neither a manifest (apiVersion, kind) nor a task",
        ),
        ("{name: n, steps: [], tasks: []}", "f.yaml:1: document 1: is neither"),
        ("steps: []\ncategory: x", "f.yaml:1: document 1: name: is missing"),
        (
            "name: 5\nsteps: []",
            "f.yaml:1: document 1: name: must be text, not 5; write it in quotes",
        ),
        (
            "{name: n, steps: []}\n---\nkind: Pipeline",
            "f.yaml:3: document 2: apiVersion: must be xaas.dev/v1alpha1, and is missing",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment",
            "f.yaml:1: document 1: apiVersion: must be xaas.dev/v1alpha1, not 'apps/v1'",
        ),
        (
            "apiVersion: xaas.dev/v1alpha1\nkind: PipelineTaskRun",
            "f.yaml:2: document 1: kind: must be one of PipelineTask, Pipeline, PipelineRun, not 'Pi",
        ),
        (
            "apiVersion: xaas.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: n}",
            "f.yaml:1: document 1: spec: is missing",
        ),
        (
            "apiVersion: xaas.dev/v1alpha1\nkind: Pipeline\nmetadata: {}\nspec: {tasks: []}",
            "f.yaml:4: document 1: spec.name: is missing",
        ),
        (
            "apiVersion: xaas.dev/v1alpha1\nkind: Pipeline\nspecs: {}\nmetadata: {}\nspec: {}",
            "f.yaml:3: document 1: specs: unknown field",
        ),
        (
            "apiVersion: xaas.dev/v1alpha1\nkind: PipelineRun\nmetadata: {}\nspec: {name: n, operation: {}}",
            "f.yaml:4: document 1: spec.operation: only {name: run, …} can be applied",
        ),
    ],
)
def test_errors_name_file_line_document_and_field(text: str, said: str) -> None:
    with pytest.raises(Misuse) as caught:
        list(parse(text, "f.yaml"))
    assert str(caught.value).startswith(said)


def test_what_the_server_finds_is_traced_to_the_line() -> None:
    text = (
        MANIFEST.format(kind="PipelineTask") + "  steps:\n    - doScript: |\n        a\n        b\n"
    )
    document = one(text)
    place = Place({"place": "steps[0].doScript", "line": 2, "message": "no b here"})
    said = "f.yaml:10: document 1 (PipelineTask one): steps[0].doScript, line 2: no b here"
    assert document.place(place) == said
    whole = Place({"place": "body", "message": "too large", "line": None})
    assert document.place(whole).startswith(
        "f.yaml:6: document 1 (PipelineTask one): body: too large"
    )


def test_folders_are_read_in_order_tasks_first(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text("{name: run, parameters: {}}\n---\n{name: p, tasks: []}")
    (tmp_path / "2.json").write_text('{"name": "t2", "steps": []}')
    (tmp_path / "3.yml").write_text("{name: t3, steps: []}")
    (tmp_path / "notes.txt").write_text("not: [read")
    assert [document.name for document in load([str(tmp_path)])] == ["t2", "t3", "p", "run"]


def test_stdin_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{name: t, steps: []}"))
    [document] = load(["-"])
    assert document.source == "stdin"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"none\.yaml: No such file"):
        load([str(tmp_path / "none.yaml")])
    with pytest.raises(Misuse, match=r"no \*\.yaml"):
        load([str(tmp_path)])
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(Misuse, match=r"bytes\.yaml: isn't UTF-8 text \(byte 3\)"):
        load([str(tmp_path)])


def test_parameters_come_from_one_object(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("a: 1\nb: [x]\n")
    assert load_object(str(file)) == {"a": 1, "b": ["x"]}
    for text in ("[1]", "", "a: 1\n---\nb: 2"):
        file.write_text(text)
        with pytest.raises(Misuse, match="must hold one object"):
            load_object(str(file))
