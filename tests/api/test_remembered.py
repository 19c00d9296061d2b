"""Answers that hold for a short time."""

import asyncio

import pytest

from xaas_api.remembered import Remembered

pytestmark = pytest.mark.anyio


class Asked:
    """Answers questions by the number of times that they were asked; each may be held up."""

    def __init__(self) -> None:
        self.count = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.count += 1
        mine = self.count
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return mine


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def kept(time: Time) -> Remembered[str, int]:
    """Odd answers last for 10 seconds, even ones for 2; at most three are kept."""
    return Remembered(3, lambda answer: 10 if answer % 2 else 2, time)


async def test_an_answer_lasts_as_long_as_it_says(kept: Remembered[str, int], time: Time) -> None:
    ask = Asked()
    assert await kept.get("a", ask) == 1
    time.now += 9.9
    assert await kept.get("a", ask) == 1
    time.now += 0.1
    assert await kept.get("a", ask) == 2
    time.now += 1.9
    assert await kept.get("a", ask) == 2
    time.now += 0.1
    assert await kept.get("a", ask) == 3


async def test_its_time_begins_with_the_question(kept: Remembered[str, int], time: Time) -> None:
    ask = Asked()
    ask.go_on.clear()
    asking = asyncio.ensure_future(kept.get("a", ask))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.now += 9
    ask.go_on.set()
    assert await asking == 1
    time.now += 1
    assert await kept.get("a", ask) == 2


async def test_each_key_has_its_own(kept: Remembered[str, int]) -> None:
    ask = Asked()
    assert [await kept.get(key, ask) for key in ("a", "b", "a", "b")] == [1, 2, 1, 2]


async def test_the_oldest_is_forgotten(kept: Remembered[str, int]) -> None:
    ask = Asked()
    for key in "abcd":
        await kept.get(key, ask)
    assert [await kept.get(key, ask) for key in "bcd"] == [2, 3, 4]
    assert await kept.get("a", ask) == 5


async def test_many_ask_once(kept: Remembered[str, int]) -> None:
    ask = Asked()
    ask.go_on.clear()
    asking = [asyncio.ensure_future(kept.get("a", ask)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()  # the others don't wait in vain
    ask.go_on.set()
    assert await asyncio.gather(*asking[1:]) == [1] * 4
    assert asking[0].cancelled()


async def test_an_error_is_everybody_s_and_isn_t_kept(kept: Remembered[str, int]) -> None:
    ask = Asked()
    ask.error = KeyError("no")
    asking = [asyncio.ensure_future(kept.get("a", ask)) for _ in range(3)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in found] == [KeyError] * 3
    ask.error = None
    assert await kept.get("a", ask) == 2


async def test_an_error_that_nobody_waits_for_is_no_trouble(
    kept: Remembered[str, int], recwarn: pytest.WarningsRecorder
) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    ask = Asked()
    ask.go_on.clear()
    ask.error = KeyError("no")
    asking = asyncio.ensure_future(kept.get("a", ask))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    ask.go_on.set()
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ask.count == 1
    assert not told
    assert not recwarn.list
