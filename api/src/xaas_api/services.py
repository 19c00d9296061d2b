"""What the routes work with: handed to each when the app is made."""

import asyncio
from dataclasses import dataclass, field

from xaas_core.admission import Admission
from xaas_core.ports import Logs, Store


@dataclass
class Services:
    """`namespace` is where a request without one looks. `stopping` ends all streams."""

    store: Store
    admission: Admission
    logs: Logs
    namespace: str = "default"
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
