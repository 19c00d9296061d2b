"""Only `print` prints: nothing that a script may call writes to the process's own output."""

import pytest

from xaas_runner import sandbox

CALLS = {
    "compile('a(b)', {0})": "a(b)",
    "compile(pattern='a(b)', flags={0})": "a(b)",
    "search('A(b)', 'xab', {0} | 2).group(1)": "b",
    "match('a(b)', 'ab', {0}).group(1)": "b",
    "fullmatch('a(b)', 'ab', flags={0}).group(1)": "b",
    "findall('ab', 'xab', {0})": "ab",
    "split('B', 'abc', 0, {0} | re.I)": "ac",
    "sub('B', 'x', 'abc', 0, {0} | 2)": "axc",
    "sub('b', 'x', 'abc', flags={0})": "axc",
    "subn('b', 'x', 'abc', 0, {0})[0]": "axc",
    "compile('#', {0} | re.X).flags & 128 or 'none'": "none",
}


@pytest.mark.parametrize("call", CALLS)
def test_the_debug_flag_of_a_pattern_is_dropped(
    call: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script = f"import re\nfound = re.{call.format('128')}\n"
    script += "return getattr(found, 'pattern', None) or ''.join(found)"
    program = sandbox.compile_script(script)
    scope = sandbox.scope(program, {"params": {}}, write=lambda text: None)
    assert sandbox.run(program, scope) == CALLS[call]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_flags_that_are_no_number() -> None:
    script = "import re\nclass Flags:\n    def __and__(self, other): return 128\nre.compile('a', Flags())"
    program = sandbox.compile_script(script)
    scope = sandbox.scope(program, {"params": {}}, write=lambda text: None)
    with pytest.raises(TypeError):
        sandbox.run(program, scope)
