"""The modules that a setting (`allowedImports`) may open beyond the catalogue.

Packages that don't belong to Python are opened as they are: whoever builds the image, or runs the
server, has chosen them. Python's own are opened only if they are listed here, member by member, as
in the catalogue: most others reach files, processes, code or attributes, if not by themselves then
by what they import (`pydoc`, `unittest.mock`, `asyncio.subprocess`).

Left out on purpose: `contextlib.redirect_stdout` and `chdir`, `csv`'s registry of dialects and
`zoneinfo.reset_tzpath` (shared state, files), `shlex.shlex` (can include files), `operator` (reads
attributes), `abc` (its classes can't be bases here, and `abstractmethod` alone means nothing).
"""

import sys
from collections.abc import Iterable
from typing import Final

from xaas_runner.sandbox.catalogue import MODULES

_LISTED: Final = {
    "binascii": """Error Incomplete a2b_base64 a2b_hex b2a_base64 b2a_hex crc32 crc_hqx hexlify
        unhexlify""",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "calendar": """FRIDAY MONDAY SATURDAY SUNDAY THURSDAY TUESDAY WEDNESDAY day_abbr day_name
        isleap leapdays month_abbr month_name monthcalendar monthrange timegm weekday""",
    "cmath": """acos acosh asin asinh atan atanh cos cosh e exp inf infj isclose isfinite isinf
        isnan log log10 nan nanj phase pi polar rect sin sinh sqrt tan tanh tau""",
    "colorsys": "hls_to_rgb hsv_to_rgb rgb_to_hls rgb_to_hsv rgb_to_yiq yiq_to_rgb",
    "contextlib": """AsyncExitStack ExitStack aclosing asynccontextmanager closing contextmanager
        nullcontext suppress""",
    "csv": """DictReader DictWriter Error QUOTE_ALL QUOTE_MINIMAL QUOTE_NONE QUOTE_NONNUMERIC
        QUOTE_NOTNULL QUOTE_STRINGS Sniffer excel excel_tab reader unix_dialect writer""",
    "difflib": """Differ IS_CHARACTER_JUNK IS_LINE_JUNK SequenceMatcher context_diff
        get_close_matches ndiff restore unified_diff""",
    "graphlib": "CycleError TopologicalSorter",
    "heapq": "heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest",
    "html": "escape unescape",
    "numbers": "Complex Integral Number Rational Real",
    "shlex": "join quote split",
    "struct": "Struct calcsize error iter_unpack pack pack_into unpack unpack_from",
    "unicodedata": """bidirectional category combining decimal decomposition digit
        east_asian_width is_normalized lookup mirrored name normalize numeric unidata_version""",
    "zlib": "adler32 compress crc32 decompress error",
    "zoneinfo": "ZoneInfo ZoneInfoNotFoundError",
}

ON_REQUEST: Final = {module: frozenset(names.split()) for module, names in _LISTED.items()}
"""Public names of each module of Python's own that a setting may open."""

TYPES_ON_REQUEST: Final = {
    "contextlib": {
        "AsyncExitStack": """aclose callback enter_async_context enter_context pop_all push
            push_async_callback push_async_exit""",
        "ExitStack": "callback close enter_context pop_all push",
    },
    "csv": {
        "DictReader": "fieldnames line_num",
        "DictWriter": "fieldnames writeheader writerow writerows",
        "Sniffer": "has_header sniff",
    },
    "difflib": {
        "Differ": "compare",
        "Match": "a b count index size _asdict _fields",
        "SequenceMatcher": """find_longest_match get_grouped_opcodes get_matching_blocks
            get_opcodes quick_ratio ratio real_quick_ratio set_seq1 set_seq2 set_seqs""",
    },
    "graphlib": {
        "TopologicalSorter": "add done get_ready is_active prepare static_order",
    },
    "struct": {"Struct": "format iter_unpack pack pack_into size unpack unpack_from"},
    "zoneinfo": {"ZoneInfo": "dst fromutc key tzname utcoffset"},
}
"""As `catalogue.TYPES`."""

_NEVER: Final = frozenset(
    {"RestrictedPython", "pip", "pkg_resources", "setuptools", "test", "xaas_runner"}
    | {"asynchat", "asyncore", "cgi", "cgitb", "distutils", "imp", "lib2to3", "msilib", "nntplib"}
    | {"pipes", "smtpd", "telnetlib"}
)
"""Packages that no setting opens: the policy itself, what installs or loads code, Python's own tests
(no part of `sys.stdlib_module_names`), and what was part of Python once and can be installed."""


def is_pythons_own(module: str) -> bool:
    """Whether the module belongs to Python's standard library."""
    return module.partition(".")[0] in sys.stdlib_module_names


def may_be_allowed(module: str) -> bool:
    """Whether a setting may open `module` to scripts."""
    root = module.partition(".")[0]
    if is_pythons_own(module):
        return module in ON_REQUEST
    return root not in _NEVER and not root.startswith("_")


def opened(settings: Iterable[str]) -> frozenset[str]:
    """Of the modules that settings name, those that are opened beyond the catalogue."""
    return frozenset(filter(may_be_allowed, frozenset(settings) - frozenset(MODULES)))
