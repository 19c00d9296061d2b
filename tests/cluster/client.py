"""A few plain requests to the API server, before there is any other client.

kubectl would do, but takes a fifth of a second each time, and this waits for things that take two.
"""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from tests.cluster import places
from tests.cluster.certificates import ADMIN

TIMEOUT = 5.0


class Client:
    """The admin's access to the cluster built from Go modules."""

    def __init__(self, state: places.State) -> None:
        folder = state.certificates
        self._context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._context.load_cert_chain(folder / f"{ADMIN.file}.crt", folder / f"{ADMIN.file}.key")
        # No proxy of the machine is asked for this address.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context)
        )

    def get(self, path: str) -> Any:
        """The JSON at `path`, or its text. Raises OSError (HTTPError is one) if there is none."""
        with self._opener.open(places.API_URL + path, timeout=TIMEOUT) as answer:
            body = answer.read().decode()
        return json.loads(body) if body.startswith("{") else body

    def create(self, path: str, content: dict[str, Any]) -> None:
        """Create an object; that it is there already is fine. Raises OSError."""
        request = urllib.request.Request(
            places.API_URL + path,
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            self._opener.open(request, timeout=TIMEOUT).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise


def trouble(error: OSError) -> str:
    """What is behind an error of a request, in short."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code}: {error.read().decode(errors='replace')[:300].strip()}"
    return str(getattr(error, "reason", error))
