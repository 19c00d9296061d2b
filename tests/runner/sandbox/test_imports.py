"""What a setting opens (`allowedImports`), and what none does."""

import sys
from pathlib import Path
from typing import Any

import pytest

from xaas_runner import sandbox
from xaas_runner.sandbox.catalogue import MODULES
from xaas_runner.sandbox.on_request import ON_REQUEST, opened


def run(script: str, *allowed: str) -> dict[str, Any]:
    program = sandbox.compile_script(script, allowed_imports=allowed)
    params: dict[str, Any] = {}
    sandbox.run(program, sandbox.scope(program, {"params": params}, write=print))
    return params


PACKAGE = """
import os
from vendor import parts

_secret = 1
label = "a label"
member = "a member"

class Device:
    kind = "switch"
    system = os

    def __init__(self):
        self.items = {}
        self._hidden = 1

    def __setitem__(self, key, value):
        self.items[key] = value
"""


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that comes with an image."""
    folder = tmp_path / "vendor"
    folder.mkdir()
    (folder / "__init__.py").write_text("import sys\n")
    (folder / "parts.py").write_text("count = 3\n")
    (folder / "device.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("vendor", "vendor.parts", "vendor.device"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("vendor")
def test_a_package_that_an_image_brings() -> None:
    script = """
import vendor.device
from vendor.device import Device
import vendor.parts as p
d = Device()
d['To'] = 'a'
class Own(Device):
    def label(self): return super().kind
params['x'] = [p.count, d.items, vendor.device.Device is Device, d.kind, Own().label(),
               hasattr(vendor.device, 'os'), hasattr(vendor, 'sys'), hasattr(d, '_hidden'),
               hasattr(d, 'system'), hasattr(vendor.device, '_secret')]"""
    assert run(script, "vendor.device", "vendor.parts")["x"] == [
        *(3, {"To": "a"}, True, "switch", "switch"),
        *[False] * 5,
    ]


@pytest.mark.usefixtures("vendor")
@pytest.mark.parametrize(
    "name", ["_members", "_label", "_secret", "__class__", "__init__", "__doc__", "__setattr__"]
)
def test_nothing_private_is_imported_from_a_package(name: str) -> None:
    with pytest.raises(sandbox.PolicyError, match="names that start with '_' are not allowed"):
        sandbox.compile_script(
            f"from vendor.device import {name} as x", allowed_imports=["vendor.device"]
        )


@pytest.mark.usefixtures("vendor")
def test_a_facade_has_nothing_but_the_members_of_the_module() -> None:
    script = "from vendor.device import label, member\nparams['x'] = [label, member]"
    assert run(script, "vendor.device")["x"] == ["a label", "a member"]
    program = sandbox.compile_script("pass", allowed_imports=["vendor.device"])
    facade = sandbox.scope(program, {}, write=print)["__builtins__"]["__import__"](
        "vendor.device", None, None, ("x",)
    )
    for name in ("_members", "_label", "_secret", "__init__", "__reduce_ex__", "__dict__", "os"):
        assert not hasattr(facade, name), name


def test_an_allowed_module_that_is_not_there_fails_at_its_line() -> None:
    program = sandbox.compile_script(
        "x = 1\nimport nowhere_to_be", allowed_imports=["nowhere_to_be"]
    )
    with pytest.raises(ImportError) as caught:
        sandbox.run(program, sandbox.scope(program, {}, write=print))
    assert sandbox.describe_error(caught.value, program).get("line") == 2


ENDS_THE_POLICY = """
    os sys subprocess importlib.util pickle io ctypes operator types inspect gc
    pydoc asyncio.subprocess asyncio.events asyncio.base_events urllib.request unittest.mock
    compileall doctest xml.sax xml.etree.ElementTree json.tool json.decoder gzip bz2 lzma tokenize
    mimetypes wave symtable ast poplib http.client getpass gettext locale email.message
    concurrent.futures multiprocessing.pool collections._sys random.os typing.io cProfile
    zoneinfo._common csv.io contextlib.sys antigravity this idlelib.run turtledemo test.support
    logging.config wsgiref.simple_server configparser optparse argparse cmd curses
    RestrictedPython xaas_runner xaas_runner.sandbox setuptools pip distutils
"""


@pytest.mark.parametrize("module", ENDS_THE_POLICY.split())
def test_no_setting_opens_a_module_that_would_undo_the_policy(module: str) -> None:
    for script in (f"x = 1\nimport {module}", f"x = 1\nfrom {module} import x"):
        with pytest.raises(sandbox.PolicyError) as caught:
            sandbox.compile_script(script, allowed_imports=[module])
        assert caught.value.line == 2
        assert "no setting can open" in caught.value.reason
    program = sandbox.compile_script("x = 1", allowed_imports=[module])
    imports = sandbox.scope(program, {}, write=print)["__builtins__"]["__import__"]
    with pytest.raises(ImportError):
        imports(module, None, None, ("x",))


@pytest.mark.parametrize("module", ["builtins", "_thread", "_io", "__main__", "__future__"])
def test_nor_one_whose_name_is_reserved(module: str) -> None:
    assert not opened([module])
    script = f"import {module}"
    with pytest.raises(sandbox.PolicyError):
        sandbox.compile_script(script, allowed_imports=[module])


def test_of_pythons_own_only_listed_modules_are_opened() -> None:
    assert opened(sys.stdlib_module_names) == frozenset(ON_REQUEST)
    assert not frozenset(MODULES) & frozenset(ON_REQUEST)


@pytest.mark.parametrize("module", ON_REQUEST)
def test_what_a_setting_opens_of_pythons_own(module: str) -> None:
    with pytest.raises(sandbox.PolicyError, match=r"a task opens .* by its allowedImports"):
        sandbox.compile_script(f"import {module}")
    names = ON_REQUEST[module]
    script = "\n".join([f"import {module}", *(f"from {module} import {name}" for name in names)])
    sandbox.compile_script(script, allowed_imports=[module])
    with pytest.raises(sandbox.PolicyError, match="has no 'sys' for scripts"):
        sandbox.compile_script(f"from {module} import sys", allowed_imports=[module])


EVERYDAY = {
    "binascii": "binascii.hexlify(b'a').decode() == '61'",
    "bisect": "bisect.bisect([1, 2], 1) == 1",
    "calendar": """calendar.monthrange(2024, 2) == (3, 29) and calendar.month_name[1] == 'January'
        and list(calendar.day_abbr)[calendar.SUNDAY] == 'Sun'""",
    "cmath": "cmath.sqrt(-1) == 1j",
    "colorsys": "colorsys.rgb_to_hsv(1, 0, 0)[2] == 1",
    "contextlib": "managed()",
    "csv": "list(csv.DictReader(['a,b', '1,2'])) == [{'a': '1', 'b': '2'}] and written()",
    "difflib": "difflib.SequenceMatcher(None, 'ab', 'ac').ratio() == 0.5",
    "graphlib": "list(graphlib.TopologicalSorter({'a': ['b']}).static_order()) == ['b', 'a']",
    "heapq": "heapq.nsmallest(2, [3, 1, 2]) == [1, 2]",
    "html": "html.escape('<') == '&lt;'",
    "numbers": "isinstance(1, numbers.Number)",
    "shlex": "shlex.split('a \"b c\"') == ['a', 'b c']",
    "struct": "struct.unpack('>H', struct.pack('>H', 7)) == struct.Struct('>H').unpack(b'\\0\\7')",
    "unicodedata": "unicodedata.normalize('NFC', 'e\\u0301') == '\\u00e9'",
    "zlib": "zlib.decompress(zlib.compress(b'x')) == b'x'",
    "zoneinfo": """datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))
        .isoformat() == '2024-07-01T00:00:00+02:00'""",
}
HELPERS = """
class Text:
    def __init__(self): self.text = ''
    def write(self, text): self.text += text
def written():
    text = Text()
    csv.writer(text).writerow([1, 'a,b'])
    return text.text == '1,"a,b"\\r\\n'
def managed():
    @contextlib.contextmanager
    def around(**fields):
        seen.append(fields)
        yield 1
        seen.append('left')
    seen = []
    with around(**{'_id': 1}) as x, contextlib.suppress(KeyError), contextlib.ExitStack() as stack:
        stack.callback(seen.append, 'called')
        raise KeyError
    return seen == [{'_id': 1}, 'called', 'left'] and x == 1
"""


@pytest.mark.parametrize("module", ON_REQUEST)
def test_everyday_use(module: str) -> None:
    script = f"import {module}\n{HELPERS}\nparams['x'] = ({EVERYDAY[module]})"
    assert run(script, module)["x"] is True


@pytest.mark.parametrize(
    ("module", "attempt"),
    [
        ("contextlib", "contextlib.contextmanager(json.dumps)"),
        ("contextlib", "contextlib.contextmanager(params.update)"),
        ("contextlib", "class S(contextlib.ExitStack): pass"),
        ("csv", "class D(csv.Sniffer): pass"),
        ("csv", "csv.excel.delimiter = 'x'"),
        ("csv", "csv.DictReader([]).reader"),
        ("numbers", "numbers.Number.register(str)"),
        ("shlex", "shlex.split(None)"),
        ("shlex", "shlex.split(params)"),
        ("shlex", "shlex.shlex"),
        ("zoneinfo", "zoneinfo.ZoneInfo('../../../etc/passwd')"),
        ("zoneinfo", "zoneinfo.ZoneInfo('/etc/passwd')"),
        ("zoneinfo", "zoneinfo.ZoneInfo.from_file(params)"),
        ("zoneinfo", "zoneinfo.reset_tzpath"),
        ("zoneinfo", "class Z(zoneinfo.ZoneInfo): pass"),
    ],
)
def test_what_an_opened_module_still_refuses(module: str, attempt: str) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError)):
        run(f"import json, {module}\n{attempt}", module)
