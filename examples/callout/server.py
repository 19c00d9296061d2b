"""An inventory of devices, as a service of some other team might be: slow, and over HTTP.

python3 server.py [--port 8601]

GET    /devices              the names
GET    /devices/NAME         one of them, after `--delay` seconds
POST   /reports              store a report; its id comes back
GET    /reports              all reports
DELETE /reports/ID           remove one
"""

import argparse
import contextlib
import itertools
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEVICES: dict[str, dict[str, Any]] = {
    "core-1": {"vendor": "cisco", "ports": 48, "load": 0.71},
    "core-2": {"vendor": "cisco", "ports": 48, "load": 0.64},
    "edge-1": {"vendor": "juniper", "ports": 24, "load": 0.38},
    "edge-2": {"vendor": "juniper", "ports": 24, "load": 0.93},
    "edge-3": {"vendor": "nokia", "ports": 12, "load": 0.12},
}


class Inventory(ThreadingHTTPServer):
    """The service and what it stores."""

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.delay = delay
        self.reports: dict[str, Any] = {}
        self.ids = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Inventory

    def do_GET(self) -> None:
        """Read."""
        match self.path.strip("/").split("/"):
            case ["devices"]:
                self.answer(200, sorted(DEVICES))
            case ["devices", name] if name in DEVICES:
                time.sleep(self.server.delay)
                self.answer(200, {"name": name, **DEVICES[name]})
            case ["reports"]:
                self.answer(200, self.server.reports)
            case _:
                self.answer(404, {"error": f"no {self.path} here"})

    def do_POST(self) -> None:
        """Store a report."""
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length))
        if self.path != "/reports":
            self.answer(404, {"error": f"no {self.path} here"})
        elif body["busiest"]["load"] > body["limit"]:
            self.answer(422, {"error": f"{body['busiest']['name']} is beyond the limit"})
        else:
            id = str(next(self.server.ids))
            self.server.reports[id] = body
            self.answer(201, {"id": id})

    def do_DELETE(self) -> None:
        """Remove a report; one that is gone already is no error: an undo may come twice."""
        self.server.reports.pop(self.path.rpartition("/")[2], None)
        self.answer(200, {})

    def answer(self, code: int, content: Any) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print the request."""
        print(f"{self.command} {self.path} -> {code}", flush=True)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8601)
    parser.add_argument("--delay", type=float, default=0.5, help="seconds for each device")
    options = parser.parse_args()
    server = Inventory(options.port, options.delay)
    print(f"inventory on http://127.0.0.1:{server.server_address[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
