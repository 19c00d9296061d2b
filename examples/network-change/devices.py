"""Five simulated switches, configured over HTTP. They remember what they are told.

    python3 devices.py [--port 8602]

    GET    /devices                    all devices with their VLANs
    GET    /devices/NAME               one of them
    PUT    /devices/NAME/vlans/ID      add a VLAN; body: {"name": ...}
    DELETE /devices/NAME/vlans/ID      remove it
    PUT    /devices/NAME/broken        body: true or false

A broken device is broken in the worst way: it takes a VLAN into its configuration, then fails to
answer for it. So what isn't undone stays behind.
"""

import argparse
import contextlib
import json
import threading
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = ("core-1", "east-1", "east-2", "west-1", "edge-1")


@dataclass
class Device:
    """One switch: its VLANs by number, and whether it is broken."""

    vlans: dict[str, str] = field(default_factory=lambda: {"1": "default"})
    broken: bool = False


class Network(ThreadingHTTPServer):
    """All the switches behind one address."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.devices = {name: Device() for name in NAMES}
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Network

    def do_GET(self) -> None:
        """Show."""
        with self.server.lock:
            shown = {name: asdict(device) for name, device in self.server.devices.items()}
        match self.path.strip("/").split("/"):
            case ["devices"]:
                self.answer(200, shown)
            case ["devices", name] if name in shown:
                self.answer(200, shown[name])
            case _:
                self.answer(404, {"error": f"no {self.path} here"})

    def do_PUT(self) -> None:
        """Configure."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        devices = self.server.devices
        with self.server.lock:
            match self.path.strip("/").split("/"):
                case ["devices", name, "vlans", id] if name in devices:
                    devices[name].vlans[id] = body["name"]
                    if devices[name].broken:
                        self.answer(500, {"error": f"{name}: commit failed, out of memory"})
                    else:
                        self.answer(200, {"vlans": devices[name].vlans})
                case ["devices", name, "broken"] if name in devices:
                    devices[name].broken = bool(body)
                    self.answer(200, asdict(devices[name]))
                case _:
                    self.answer(404, {"error": f"no {self.path} here"})

    def do_DELETE(self) -> None:
        """Remove a VLAN; one that isn't there is no error."""
        devices = self.server.devices
        with self.server.lock:
            match self.path.strip("/").split("/"):
                case ["devices", name, "vlans", id] if name in devices:
                    devices[name].vlans.pop(id, None)
                    self.answer(200, {"vlans": devices[name].vlans})
                case _:
                    self.answer(404, {"error": f"no {self.path} here"})

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
    parser.add_argument("--port", type=int, default=8602)
    server = Network(parser.parse_args().port)
    print(f"devices on http://127.0.0.1:{server.server_address[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
