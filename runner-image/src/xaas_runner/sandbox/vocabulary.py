"""The words of the language: what a script may name, define, import or never name at all.

Only constants, so that both halves of the policy (the check before a script runs, the guards while
it runs) read the same lists. Everything is an allow-list, except `FORBIDDEN_ATTRIBUTES`, which only
turns a run-time refusal into one that is told when the script is compiled.
"""

import builtins
from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


SCRIPT_FILE: Final = "<script>"
"""File name of compiled scripts; no other code has it, so frames of a script are known by it."""

ENTRY: Final = "_script_"
"""The function that a script's body becomes. A script can't name it: it starts with `_`."""

FIELDS: Final = "__script_fields__"
"""Where a class body keeps `((name, kind), …)` of its annotated names, for dataclasses."""

NAMEDTUPLE_METHODS: Final = frozenset({"_asdict", "_replace", "_fields", "_make"})
"""The only attributes with a leading underscore that a script may read: part of a public API."""

FORMATS: Final = frozenset({"format", "format_map"})
"""Methods of `str` that read attributes: replaced by our own."""

DRIVEN: Final = frozenset({"aclose", "asend"})
"""Methods of asynchronous generators: what they give is to be awaited, not driven by hand."""

_BUILTINS: Final = _words("""
    None True False Ellipsis NotImplemented abs all any ascii bin bool bytearray bytes callable
    chr classmethod complex dict divmod enumerate filter float format frozenset hash hex int
    isinstance issubclass len list map max min object oct ord pow property range repr reversed
    round set slice sorted staticmethod str sum tuple zip
""")

GUARDED_BUILTINS: Final = frozenset(
    {"aiter", "anext", "delattr", "getattr", "hasattr", "iter", "next", "print", "setattr"}
)
"""Built-in names that a script gets in a version of ours."""

EXCEPTIONS: Final = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception)
}

SAFE_BUILTINS: Final = {name: getattr(builtins, name) for name in _BUILTINS} | EXCEPTIONS

FORBIDDEN_NAMES: Final = (
    frozenset(name for name in dir(builtins) if name[0] != "_")
    | {"copyright", "credits", "exit", "help", "license", "quit"}
) - (frozenset(SAFE_BUILTINS) | GUARDED_BUILTINS)
"""Built-in names that a script doesn't have: refused unless the script defines them itself."""

FORBIDDEN_ATTRIBUTES: Final = frozenset(
    _words("""
    ag_await ag_code ag_frame cr_await cr_code cr_frame cr_origin f_back f_builtins f_code
    f_generator f_globals f_lineno f_locals f_trace gi_code gi_frame gi_yieldfrom tb_frame
    tb_next co_code co_consts with_traceback get_loop get_coro get_stack print_stack
""")
)

RESERVED: Final = frozenset({"breakpoint", "builtins", "print", "printed"})
"""Names that keep their meaning: RestrictedPython reserves them, a script can't define them."""

MATCHABLE: Final = frozenset(
    _words("""
    bool bytearray bytes dict float frozenset int list set str tuple
""")
)
"""Classes that a `case` may name: with one positional pattern they read no attribute."""

DATA_TYPES: Final = frozenset(
    _words("""
    bool bytearray bytes complex dict float frozenset int list object range set slice str tuple
""")
)

METHODS: Final = frozenset(
    f"__{name}__"
    for name in _words("""
    init post_init call repr str bytes format bool hash len length_hint contains iter next
    reversed getitem setitem delitem missing enter exit aenter aexit aiter anext eq ne lt le gt
    ge neg pos abs invert int float complex index round trunc floor ceil add radd iadd sub rsub
    isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv ifloordiv mod rmod imod
    divmod rdivmod pow rpow ipow matmul rmatmul imatmul lshift rlshift ilshift rshift rrshift
    irshift and rand iand or ror ior xor rxor ixor
""")
)
"""Special methods that a class of a script may define: none that hooks into attribute access, class
creation, instance creation, finalising or pickling."""
