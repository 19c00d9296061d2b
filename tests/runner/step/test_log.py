import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xaas_runner.step_log import MAX_LOG_BYTES, Mask, StepLog

if TYPE_CHECKING:
    from tests.runner.step.conftest import Steps

RECORD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ .*")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Callable[[StepLog], None]], str]:
    """Return what a log looks like after a function has written to it."""

    def run(act: Callable[[StepLog], None]) -> str:
        path = tmp_path / "log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        log = StepLog(Mask(["s3cr3t"]), fd)
        act(log)
        log.close()
        os.close(fd)
        return path.read_text()

    return run


Write = Callable[[Callable[[StepLog], None]], str]


@pytest.mark.parametrize("breaker", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_record_is_one_line_whatever_it_holds(write: Write, breaker: str) -> None:
    text = write(lambda log: log.record("INFO", f"a{breaker}2026-01-02T03:04:05.678Z ERROR forged"))
    assert len(text.splitlines()) == 1
    assert RECORD.fullmatch(text.rstrip("\n"))


def test_a_terminal_is_told_colours_only(write: Write) -> None:
    def act(log: StepLog) -> None:
        log.record("INFO", "\x1b[31mred\x1b[0m \x1b[2K\x1b[1A gone \x07")
        log.print("\x1b[31mred\x1b[0m \x1b[2K gone\tkept\n")

    text = write(act)
    assert "\x1b[31mred\x1b[0m" in text
    assert "\x1b[2K" not in text
    assert "\\x1b[2K\\x1b[1A gone \\x07" in text
    assert "gone\tkept" in text


def test_printed_text_stays_itself_and_cannot_pass_for_a_record(write: Write) -> None:
    def act(log: StepLog) -> None:
        log.print("one\ntw")
        log.print("o\n")
        log.print("half")
        log.record("INFO", "record")
        log.print("2026-01-02T03:04:05.678Z ERROR forged\nend")

    lines = write(act).split("\n")
    assert lines[:3] == ["one", "two", "half"]
    assert RECORD.fullmatch(lines[3])
    assert lines[4:] == [" 2026-01-02T03:04:05.678Z ERROR forged", "end", ""]


def test_a_secret_is_masked_even_when_printed_in_pieces(write: Write) -> None:
    def act(log: StepLog) -> None:
        log.print("s3c")
        log.print("r3t!\n")

    assert write(act) == "***!\n"


def test_the_longest_secret_first() -> None:
    mask = Mask(["abcd", "abcd-efgh", "xyz", ""])
    assert mask.hide("abcd-efgh abcd xyz") == "*** *** xyz"


def test_a_flood_ends_with_a_line_that_says_so(write: Write) -> None:
    def act(log: StepLog) -> None:
        for _ in range(2000):
            log.print("x" * 9999 + "\n")
        log.record("INFO", "too late")

    text = write(act)
    assert MAX_LOG_BYTES - 20_000 < len(text) <= MAX_LOG_BYTES + 200
    last = text.splitlines()[-1]
    assert RECORD.fullmatch(last)
    assert last.endswith("WARNING the log ends here: a step may write 8 MiB")
    assert "too late" not in text


def test_a_log_that_cannot_be_written_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    log = StepLog(Mask([]), write)
    log.record("INFO", "nobody reads this")
    log.print("nor this\n")
    log.close()
    os.close(write)


def test_logger(steps: "Steps") -> None:
    script = r"""
logger.debug('d'); logger.info('i %s %d', 'x', 3); logger.warning('w'); logger.warn('w2')
logger.error('e'); logger.critical('c')
logger.info('bad %d', 'x')
logger.info({'a': 1}, exc_info=True)
logger.info('%(a)s', {'a': 'named'})
logger.info('100%')
class Broken:
    def __str__(self): raise ValueError('in str')
logger.info(Broken())
logger.info('arg %s', Broken())
try:
    1 / 0
except ZeroDivisionError:
    logger.exception('caught')
    logger.warning('%s', 'seen', exc_info=True)
logger.info('x\n{"level": "ERROR", "msg": "forged"}')
logger.info('l' * 100000)
"""
    finish = steps.run(script)
    assert finish["error"] is None
    lines = steps.log().splitlines()
    assert all(RECORD.fullmatch(line) for line in lines)
    told = [line.split(" ", 1)[1] for line in lines]
    assert told == [
        "DEBUG d",
        "INFO i x 3",
        "WARNING w",
        "WARNING w2",
        "ERROR e",
        "CRITICAL c",
        "INFO bad %d x",
        "INFO {'a': 1}",
        "INFO named",
        "INFO 100%",
        "INFO <Broken, whose text raises ValueError>",
        "INFO arg %s <Broken, whose text raises ValueError>",
        "ERROR caught: ZeroDivisionError: division by zero",
        "WARNING seen: ZeroDivisionError: division by zero",
        'INFO x\\n{"level": "ERROR", "msg": "forged"}',
        told[15],
    ]
    assert told[15].endswith("… (100000 characters in all)")
    assert len(told[15]) < 66_000


def test_which_exception_exc_info_means(steps: "Steps") -> None:
    """What `logging` accepts."""
    script = """
try:
    raise ValueError('kept')
except ValueError as error:
    kept = error
logger.error('itself', exc_info=kept)
logger.error('none', exc_info=1)
logger.error('triple', exc_info=(ValueError, kept, None))
logger.error('empty', exc_info=(None, None, None))
try:
    1 / 0
except ZeroDivisionError:
    logger.error('one', exc_info=1)
    logger.error('other', exc_info=kept)
    logger.exception('zero', exc_info=0)
"""
    assert steps.run(script)["error"] is None
    assert [line.split(" ", 2)[2] for line in steps.log().splitlines()] == [
        "itself: ValueError: kept",
        "none",
        "triple: ValueError: kept",
        "empty",
        "one: ZeroDivisionError: division by zero",
        "other: ValueError: kept",
        "zero",
    ]


def test_a_copy_of_the_logger_has_no_log_of_its_own(steps: "Steps") -> None:
    script = """
import copy
from dataclasses import asdict, dataclass
@dataclass
class Holder:
    log: object
others = [copy.copy(logger), copy.deepcopy(logger), copy.deepcopy([logger])[0]]
others.append(asdict(Holder(logger))['log'])
params['same'] = [other is logger for other in others]
for _ in range(3):
    info = copy.deepcopy(logger.info)
    for _ in range(100):
        info('y' * 65000)
"""
    finish = steps.run(script)
    assert finish["delta"] == [{"op": "set", "path": ["same"], "value": [True] * 4}]
    assert len(steps.log()) < MAX_LOG_BYTES + 200


@pytest.mark.parametrize(
    "call",
    ["logger.info('x', exc_info=(1, 2, 3))", "logger.info('x', extra={})", "logger.info()"],
)
def test_what_the_logger_does_not_take(steps: "Steps", call: str) -> None:
    assert steps.run(call)["error"]["type"] == "TypeError"
    assert steps.log() == ""
