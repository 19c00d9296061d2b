"""The evaluator of the embedded backend: checks and conditions, in a process of their own."""

from xaas_core.evaluation import EvaluatorClient
from xaas_local.companion import Companion


class ProcessEvaluator(EvaluatorClient):
    """Implements `xaas_core.ports.Evaluator`. From one event loop, after `start_up`."""

    def __init__(self) -> None:
        self._companion = Companion("evaluate", self.hear, down=self.lost)
        super().__init__(self._companion)

    async def start_up(self) -> None:
        """Start the process. Raises Unavailable."""
        await self._companion.start_up()

    async def close(self) -> None:
        """End the process; requests under way raise Unavailable."""
        await self._companion.close()
