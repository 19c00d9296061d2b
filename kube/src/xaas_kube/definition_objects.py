"""PipelineTasks and Pipelines as custom resources."""

from typing import Any, Final

from pydantic import ValidationError

from xaas_core.models.objects import Definition, DefinitionSpec, Meta
from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.ports import SPECS, Idempotency, Kind
from xaas_kube import exact, times
from xaas_kube.client import Json
from xaas_kube.names import digest
from xaas_kube.words import API_VERSION, Annotation, Label, Resource

RESOURCES: Final = {Kind.TASK: Resource.TASKS, Kind.PIPELINE: Resource.PIPELINES}


class Unreadable(ValueError):
    """An object that isn't valid; the text names the places."""


def new(kind: Kind, name: str, spec: DefinitionSpec, created: str) -> Json:
    """A definition's object, to be created as `name`; `created` as `times.precise` gives it."""
    written, annotations = _written(spec)
    return {
        "apiVersion": API_VERSION,
        "kind": kind.value,
        "metadata": {
            "name": name,
            "annotations": {Annotation.CREATED.value: created, **annotations},
        },
        "spec": written,
    }


def keyed(body: Json, namespace: str, idempotency: Idempotency) -> Json:
    """The object with the key that it is made with."""
    metadata = body["metadata"]
    metadata["labels"] = {Label.KEY.value: key_label(namespace, idempotency.key)}
    metadata["annotations"][Annotation.BODY.value] = idempotency.digest
    return body


def key_label(namespace: str, key: str) -> str:
    """The value of the label for an Idempotency-Key."""
    return digest(namespace, key, length=40)


def replaced(item: Json, spec: DefinitionSpec, revision: str) -> Json:
    """`item` with another spec; `revision` makes it a new version, also if nothing differs."""
    written, annotations = _written(spec)
    metadata = dict(item["metadata"])
    kept = dict(metadata.get("annotations") or {})
    kept.pop(Annotation.WRITTEN.value, None)
    metadata["annotations"] = kept | annotations | {Annotation.REVISION.value: revision}
    return {**item, "metadata": metadata, "spec": written}


def _written(spec: DefinitionSpec) -> tuple[Json, dict[str, str]]:
    """The spec as JSON, and the annotation for what of it the API server would change."""
    written = spec.as_written()
    resources = written.get("resources")
    if resources is None:
        return written, {}
    written["resources"] = _storable(resources)
    text = exact.text_if_changed(resources, written["resources"])
    return written, {} if text is None else {Annotation.WRITTEN.value: text}


def _storable(resources: Any) -> Any:
    """Resources as the schema has them: amounts are texts and whole numbers, as in all of Kubernetes."""
    return {section: _amounts(amounts) for section, amounts in resources.items()}


def _amounts(amounts: Any) -> Any:
    if amounts is None:
        return None
    return {name: _amount(held) for name, held in amounts.items()}


def _amount(held: Any) -> Any:
    """An integral float is one that the API server would change: it is a text, too."""
    whole = held is None or (isinstance(held, int) and held.bit_length() < 64)
    return held if whole else str(held)


def name_of(item: Json) -> str:
    """What users call it: `spec.name`, or the object's own name."""
    found = (item.get("spec") or {}).get("name") or item["metadata"]["name"]
    return str(found)


def age(item: Json) -> tuple[str, bool, str]:
    """What sorts the older first: of two objects with one name the oldest has it.

    The server's clock counts in seconds: of two objects of the same second, the one that was found
    ready before keeps the name.
    """
    conditions = (item.get("status") or {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    meta = item["metadata"]
    return (meta["creationTimestamp"], not ready, meta["uid"])


def created(item: Json) -> str:
    """When it was made, to be sorted as text."""
    meta = item["metadata"]
    told = (meta.get("annotations") or {}).get(Annotation.CREATED, "")
    # An annotation can be written by anybody: only what looks like ours counts.
    return times.sortable(told if times.is_precise(told) else meta["creationTimestamp"])


def version(item: Json) -> str:
    """The version that users see: unlike the server's own, it stays when a status is written."""
    meta = item["metadata"]
    revision = (meta.get("annotations") or {}).get(Annotation.REVISION, "0")
    return f"{meta['uid'][:8]}-{meta.get('generation', 1)}-{revision}"


def read(kind: Kind, item: Json) -> Definition[DefinitionSpec]:
    """The definition that an object holds. Raises Unreadable."""
    meta = item["metadata"]
    written: dict[str, Any] = {**(item.get("spec") or {}), "name": name_of(item)}
    if "resources" in written:
        text = (meta.get("annotations") or {}).get(Annotation.WRITTEN)
        written["resources"] = exact.exactly(written["resources"], text, _storable)
    try:
        spec: PipelineTaskSpec | Any = SPECS[kind].model_validate(written)
    except ValidationError as error:
        raise Unreadable(problems(error)) from None
    at = times.read(created(item))
    assert at is not None
    return Definition(
        Meta(
            uid=meta["uid"],
            namespace=meta["namespace"],
            resource_version=version(item),
            created_at=at,
            resource_name=meta["name"],
            deleting="deletionTimestamp" in meta,
        ),
        spec,
    )


def problems(error: ValidationError) -> str:
    """A model's complaints in one line, each with its place."""
    told = [
        f"spec.{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors()[:10]
    ]
    return "; ".join(told)
