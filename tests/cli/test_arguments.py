import pytest

from xaas_cli.arguments import parameters
from xaas_cli.failures import Misuse


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["a=1"], {"a": "1"}),
        (["a:=1"], {"a": 1}),
        (["a:=1.0"], {"a": 1.0}),
        (['a:={"b": [true, null]}'], {"a": {"b": [True, None]}}),
        (["a="], {"a": ""}),
        (["a=b=c"], {"a": "b=c"}),
        (["url=http://x:=1"], {"url": "http://x:=1"}),
        (["a=1", "a=2"], {"a": "2"}),
        (["é/ü=ß"], {"é/ü": "ß"}),
    ],
)
def test_parameters(written: list[str], expected: dict[str, object]) -> None:
    assert parameters(written) == expected


def test_they_win_over_what_is_given() -> None:
    assert parameters(["a=new"], {"a": "old", "b": 1}) == {"a": "new", "b": 1}


@pytest.mark.parametrize("written", ["a", "=x", ":=1", "a:=", "a:=x", "a:=NaN", "a:='x'"])
def test_what_is_no_parameter_is_refused_with_what_to_write(written: str) -> None:
    with pytest.raises(Misuse, match=r"-p .*write -p"):
        parameters([written])
