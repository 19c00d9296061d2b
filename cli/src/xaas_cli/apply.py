"""`xaas apply`: brings the server's objects to what files say.

Everything is read before anything is written. A definition that is as the file has it isn't
written; one that differs is replaced, guarded by its ETag, so that nobody's edit in between is lost
unseen. A run is created once per `metadata.name` (its idempotency key); a run without one anew each
time.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from xaas_cli.client import Api
from xaas_cli.documents import Document, Kind, as_written
from xaas_cli.failures import Refused

ATTEMPTS: Final = 3
"""How often a definition is read and written anew when somebody else writes it meanwhile."""

_ABOUT_DOCUMENT: Final = frozenset({400, 404, 409, 412, 413, 422})
"""Refusals of one document. Others (who you are, the server itself) would hit all of them."""


class Result(StrEnum):
    """What became of a document."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Applied:
    """One document and what became of it; `problems` says why it was refused."""

    document: Document
    result: Result
    problems: tuple[str, ...] = ()
    id: str | None = None

    def __str__(self) -> str:
        id = f" ({self.id})" if self.id else ""
        return f"{self.document.kind.lower()}/{self.document.name}{id} {self.result}"


def apply(api: Api, documents: Sequence[Document]) -> Iterator[Applied]:
    """Apply the documents in their order, yielding each one's outcome.

    After a refused definition the runs are left out: they would use what the files replace.
    """
    failed = False
    for document in documents:
        if failed and document.kind is Kind.RUN:
            text = f"{_where(document)}: not created, because a definition was refused"
            yield Applied(document, Result.LEFT_OUT, (text,))
            continue
        try:
            yield _apply_run(api, document) if document.kind is Kind.RUN else _write(api, document)
        except Refused as refused:
            if refused.status not in _ABOUT_DOCUMENT:
                raise
            failed = True
            yield Applied(document, Result.REFUSED, tuple(_problems(document, refused)))


def _write(api: Api, document: Document) -> Applied:
    for attempt in range(ATTEMPTS):
        try:
            return Applied(document, _write_once(api, document))
        except Refused as refused:
            # Made, changed or removed by somebody else between our read and our write.
            if refused.status not in (404, 409, 412) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _write_once(api: Api, document: Document) -> Result:
    collection, body, namespace = document.kind.collection, document.body, document.namespace
    try:
        there, version = api.versioned(collection, document.name, namespace)
    except Refused as refused:
        if refused.status != 404:
            raise
        api.create(collection, body, namespace)
        return Result.CREATED
    if as_written(there) == body:
        return Result.UNCHANGED
    api.replace(collection, body, version, namespace)
    return Result.CONFIGURED


def _apply_run(api: Api, document: Document) -> Applied:
    if document.label is None:
        run = api.create_run(document.body, namespace=document.namespace)
        return Applied(document, Result.CREATED, id=run["instance_id"])
    # The same key and body give the same run again: one that isn't newer than the newest before.
    newest = next(api.items("pipelineruns", limit=1, namespace=document.namespace), None)
    key = "apply-" + hashlib.sha256(document.label.encode()).hexdigest()
    run = api.create_run(document.body, key=key, namespace=document.namespace)
    known = newest is not None and (
        newest["instance_id"] == run["instance_id"] or newest["created_at"] > run["created_at"]
    )
    result = Result.UNCHANGED if known else Result.CREATED
    return Applied(document, result, id=run["instance_id"])


def _problems(document: Document, refused: Refused) -> Iterator[str]:
    if refused.places:
        yield from (document.place(place) for place in refused.places)
    elif document.kind is Kind.RUN and refused.status == 409:
        yield f"{_where(document)}: was applied with other content; a run can't be changed"
    else:
        yield f"{_where(document)}: {refused.said}"


def _where(document: Document) -> str:
    line = document.content.line_of(document.root) or document.content.line
    return f"{document.source}:{line}: document {document.number} ({document.kind} {document.name})"
