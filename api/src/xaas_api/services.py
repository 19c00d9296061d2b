"""What the routes work with: handed to each when the app is made."""

import asyncio
from dataclasses import dataclass, field

from xaas_core.admission import Admission
from xaas_core.ports import Logs, Store


@dataclass
class Services:
    """`namespace` is where a request without one looks. `stopping` ends all streams.

    A server that `is_leaving` isn't ready: it still answers, but should be sent nothing more.
    `log_poll`: seconds between looks at a log that is followed; files don't tell when they grow, and
    a look at a file costs nothing. `log_delay`: seconds until what was written can surely be read; a
    file has it at once.
    """

    store: Store
    admission: Admission
    logs: Logs
    namespace: str = "default"
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: bool = False
    log_poll: float = 0.2
    log_delay: float = 0.0
