"""Everything that a script can reach by reading attributes: nothing with which to break out.

No idea of an attack is needed: from each name that a script has, and from samples of what its code
can make, every attribute that the guard gives is followed.
"""

import asyncio
import builtins
import datetime as dt
import decimal
import fractions
import io
import ipaddress
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from xaas_runner import sandbox
from xaas_runner.sandbox.catalogue import MODULES
from xaas_runner.sandbox.facade import Facade
from xaas_runner.sandbox.on_request import ON_REQUEST
from xaas_runner.sandbox.tables import READABLE, SUBSTITUTES

SAMPLES = """
import asyncio, decimal, hashlib, hmac, itertools, re, datetime, urllib.parse, collections, random
import statistics, string, textwrap, time, uuid, json, functools, ipaddress, enum, dataclasses
import typing, fractions, contextlib, csv, difflib, graphlib, heapq, struct, zoneinfo
def function(a, *, b=1): return a
async def coroutine(): await asyncio.sleep(0)
def generator(): yield 1
async def stream(): yield 1
class Plain:
    attribute = 1
    def __init__(self): self.x = [1]
    def method(self): return self
    @property
    def computed(self): return 1
    @classmethod
    def made(cls): return cls()
    @functools.cached_property
    def cached(self): return 1
    @functools.lru_cache
    def counted(self): return 1
class Wrong(Exception): pass
class Lost(AttributeError): pass
class Color(enum.Enum):
    RED = 1
class Word(str, enum.Enum):
    A = 'a'
@dataclasses.dataclass
class Data:
    x: int = 1
class Row(typing.NamedTuple):
    x: int = 1
class Json(json.JSONEncoder): pass
class Zone(datetime.tzinfo): pass
class Generic(typing.Generic[typing.TypeVar('T')]): pass
@typing.runtime_checkable
class Protocol(typing.Protocol):
    def method(self): pass
class Mode(enum.Flag):
    READ = enum.auto()
    LIMIT = enum.nonmember(5)
class Sink:
    def write(self, text): pass
@contextlib.contextmanager
def managed(): yield 1
@contextlib.asynccontextmanager
async def managed_too(): yield 1
seen = []
class Manager:
    def __enter__(self): return self
    def __exit__(self, *error):
        seen.extend(error)
        return True
with Manager():
    raise Wrong('x')
for broken in (lambda: params.x, lambda: nope, lambda: Plain().nope, lambda: 1 / 0, lambda: [][1],
               lambda: json.loads('{'), lambda: re.compile('('), lambda: function(),
               lambda: decimal.Decimal('x'), lambda: b'\\xff'.decode(), lambda: seen.nope,
               lambda: getattr(function, 'x'), lambda: typing.assert_never(function),
               lambda: typing.List(), lambda: params.update(**params, **{1: 2}), lambda: '{0.x}'.format(1), lambda: int('x')):
    try:
        broken()
    except Exception as error:
        seen.append(error)
try:
    raise ExceptionGroup('g', [ValueError()])
except* ValueError as error:
    seen.append(error)
marked = ValueError('x')
marked.note = marked.args = (1,)
seen.append(marked)
lock = asyncio.Lock()
task = asyncio.create_task(coroutine())
task.add_done_callback(seen.append)
waiting = asyncio.gather(coroutine(), coroutine())
shielded = asyncio.shield(task)
waiting.add_done_callback(seen.append)
shielded.add_done_callback(seen.append)
async with asyncio.timeout(5) as limit, asyncio.TaskGroup() as group:
    member = group.create_task(coroutine())
await task, waiting
made = coroutine()
seen += [
    Plain(), Plain().method, Wrong(), Lost(), Color.RED, Word.A, Data(), Row(), Json(), Json().encode,
    generator(), stream(), (i for i in [1]), lock, limit, group, asyncio.Event(), asyncio.Queue(),
    asyncio.Semaphore(), asyncio.Condition(), asyncio.Barrier(2), aiter(stream()), Manager(),
    re.match('(a)', 'a'), re.compile('a'), re.finditer('a', 'a'), hashlib.sha256(), hashlib.blake2b(),
    hashlib.shake_128(), hashlib.sha3_256(), hmac.new(b'', b'', 'md5'), decimal.Decimal(1),
    decimal.Decimal(1).as_tuple(), decimal.getcontext(), decimal.localcontext(), datetime.datetime(2000, 1, 1),
    datetime.date(2000, 1, 1).isocalendar(), datetime.timedelta(1), datetime.timezone.utc, time.gmtime(0),
    urllib.parse.urlsplit('http://a/b'), urllib.parse.urlparse(b'http://a'), urllib.parse.urldefrag('a#b'),
    collections.Counter('a'), collections.deque([1]), collections.OrderedDict(a=1), collections.ChainMap({}),
    collections.defaultdict(list), collections.namedtuple('N', 'a b')(1, 2), random.Random(1), random.SystemRandom(),
    statistics.NormalDist(), statistics.linear_regression([1, 2], [1, 2]), string.Template('a'),
    textwrap.TextWrapper(), uuid.uuid4(), ipaddress.ip_address('1.1.1.1'), ipaddress.ip_network('10.0.0.0/8'),
    ipaddress.ip_interface('::1/64'), ipaddress.ip_network('10.0.0.0/8').hosts(), fractions.Fraction(1, 2),
    functools.partial(function, 1), functools.lru_cache(function), functools.lru_cache(function).cache_info(),
    functools.cmp_to_key(function), itertools.count(), itertools.tee([1]), itertools.groupby([1]),
    json.JSONDecoder(), dataclasses.field(default=1), dataclasses.fields(Data), dataclasses.MISSING,
    Generic[int](), Protocol, Mode.READ, enum.Flag('Made', 'A B').B, enum.member(1),
    typing.Union[int, str], typing.Optional[int], typing.Literal['a'], typing.NewType('N', int), typing.SupportsInt,
    typing.get_args(typing.Callable[[int], typing.List[int]]), typing.DefaultDict(list), task.add_done_callback,
    *(typing.get_origin(kind) for kind in (typing.List[int], typing.Type[int], typing.Pattern, typing.ContextManager,
      typing.Union[int, str], int | str, list[int], typing.Deque, typing.Callable)),
    decimal.Context(prec=3).copy(), functools.partial(function, b=1).keywords, collections.OrderedDict(a=1).keys(),
    enum.auto(), typing.Any, typing.List[int], typing.TypeVar('T'), property(function), slice(1), range(1),
    map(function, [1]), zip([1]), enumerate([1]), reversed([1]), filter(None, [1]), iter([1]), {}.items(),
    {}.keys(), {}.values(), list[int], int | str, staticmethod(function), classmethod(function), object(),
    Zone(), managed, managed(), managed_too(), contextlib.ExitStack(), contextlib.AsyncExitStack(),
    contextlib.suppress(), contextlib.closing(Sink()), contextlib.nullcontext(), stream().asend,
    csv.reader(['a']), csv.writer(Sink()), csv.DictReader(['a', '1']), csv.DictWriter(Sink(), ['a']),
    csv.Sniffer(), csv.excel, difflib.SequenceMatcher(), difflib.Differ(), heapq.merge([1]),
    difflib.SequenceMatcher(None, 'a', 'a').get_matching_blocks(), graphlib.TopologicalSorter(),
    struct.Struct('b'), struct.iter_unpack('b', b'a'), zoneinfo.ZoneInfo('UTC'), stream().aclose,
    '{}'.format, str.format, Word.A.format, 'a'.upper, [].append, str.upper, int.from_bytes, lambda: 1,
    Ellipsis, NotImplemented, None, b'', 1, 1.0, 1j, 'a', bytearray(b'a'), frozenset([1]), print, getattr,
]
"""

EXTRA_NAMES = """
    ag_frame ag_code cr_frame cr_code cr_await gi_frame gi_code gi_yieldfrom f_back f_globals
    f_locals f_builtins tb_frame tb_next obj name with_traceback mro get_loop get_coro get_stack
    get_context format format_map func fget fset send throw close asend athrow aclose
    add_done_callback register handlers manager root logger stream sys os modules builtins
    codecs linecache warnings
"""

HARMFUL = {
    id(value): name
    for name, value in vars(builtins).items()
    if name
    in {
        "eval",
        "exec",
        "open",
        "compile",
        "getattr",
        "setattr",
        "delattr",
        "hasattr",
        "type",
        "vars",
        "dir",
        "globals",
        "locals",
        "__import__",
        "input",
        "breakpoint",
        "super",
        "memoryview",
        "id",
        "BaseException",
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "BaseExceptionGroup",
        "__build_class__",
        "help",
        "exit",
        "quit",
    }
}
HARMFUL_TYPES = (
    types.FrameType,
    types.CodeType,
    types.ModuleType,
    asyncio.AbstractEventLoop,
    asyncio.Handle,
    io.IOBase,
    type(sys.flags),
)
MEMBERS = vars(Facade)["_members"].__get__
DEPTH = 8  # some properties give a new object at every read: without an end it would never end
MADE_ANEW: Any = (
    int
    | float
    | complex
    | str
    | bytes
    | types.BuiltinMethodType
    | types.MethodType
    | types.MethodWrapperType
    | dt.date
    | dt.time
    | dt.timedelta
    | decimal.Decimal
    | fractions.Fraction
    | ipaddress.IPv4Address
    | ipaddress.IPv6Address
    | types.GeneratorType
)


def harm_of(value: Any) -> str | None:
    """Why a script must not get this, or None."""
    if id(value) in HARMFUL:
        return f"built-in {HARMFUL[id(value)]}"
    if isinstance(value, HARMFUL_TYPES):
        return f"a {type(value).__name__}"
    if isinstance(value, dict | types.MappingProxyType) and (
        "__name__" in value or "__dict__" in value or "__module__" in value
    ):
        return "a namespace"
    kind = types.BuiltinMethodType | types.MethodDescriptorType
    if isinstance(value, kind) and value.__name__ in ("format", "format_map"):
        owner = getattr(
            value, "__objclass__", type(value.__self__ if hasattr(value, "__self__") else 0)
        )
        return "str.format" if issubclass(owner, str) else None
    return None


def identity(value: Any) -> Any:
    """One number or one method stands for all of its kind: they are made anew by every read."""
    if isinstance(value, MADE_ANEW):
        return type(value), getattr(value, "__qualname__", None)
    return id(value)


def inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from list(value.items())[:500]
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from list(value)[:500]


@pytest.fixture(scope="module")
def script_scope() -> dict[str, Any]:
    program = sandbox.compile_script(SAMPLES, allowed_imports=ON_REQUEST)
    scope = sandbox.scope(program, {"params": {}}, write=lambda text: None)
    asyncio.run(sandbox.run_async(program, scope))
    scope["made"].close()
    return scope


def test_nothing_harmful_can_be_reached(script_scope: dict[str, Any]) -> None:
    read = script_scope["_getattr_"]
    roots = {name: value for name, value in script_scope.items() if name[:1] != "_"}
    roots |= {n: v for n, v in script_scope["__builtins__"].items() if n[:1] != "_"}
    imports = script_scope["__builtins__"]["__import__"]
    roots |= {name: imports(name, None, None, ("x",)) for name in MODULES | ON_REQUEST}
    pending = deque(roots.items())
    kept: dict[Any, Any] = {}  # also keeps the objects alive, so that no id is used twice
    reads = 0
    while pending:
        path, value = pending.popleft()
        assert harm_of(value) is None, f"{path} gives {harm_of(value)}: {value!r}"
        if identity(value) in kept or path.count(".") + path.count("[") > DEPTH:
            continue
        kept[identity(value)] = value
        pending.extend((f"{path}[…]", item) for item in inside(value))
        names = {
            *dir(type(value)),
            *EXTRA_NAMES.split(),
            *(dir(value) if isinstance(value, type) else ()),
        }
        names |= set(getattr(value, "__dict__", ()))
        names |= set(MEMBERS(value)) if type(value) is Facade else set()
        for name in names:
            reads += 1
            try:
                found = read(value, name)
            except Exception:  # noqa: BLE001 - whatever it is, nothing was read
                continue
            pending.append((f"{path}.{name}", found))
    assert len(kept) > 1500
    assert reads > 50_000


def test_the_real_attribute_is_not_readable_where_there_is_one_of_ours(
    script_scope: dict[str, Any],
) -> None:
    assert script_scope
    assert {"partial", "Task", "Future"} <= {kind.__name__ for kind in SUBSTITUTES}
    for kind, names in SUBSTITUTES.items():
        assert not names.keys() & READABLE.get(kind, frozenset()), kind


def test_the_walk_notices_harm() -> None:
    assert harm_of(eval)
    assert harm_of(sys)
    assert harm_of(vars(sys))
    assert harm_of(sys._getframe())
    assert harm_of("".format)
    assert harm_of(str.format_map)
    assert harm_of(sys.stderr)
    assert harm_of(format) is None
    assert harm_of({"a": 1}) is None
