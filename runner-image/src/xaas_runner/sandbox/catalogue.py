"""The modules that every script may import: their names, and what may be read of their objects.

`MODULES` gives the public names of each; whatever isn't listed doesn't exist for a script (names
that this Python doesn't have are skipped). `TYPES` gives, per module, the attributes that may be
read of instances of its classes, and of the classes themselves. A name is listed only if what it
gives can't be used to reach a module, a frame, code, an event loop, a file or shared state.

Left out on purpose: `uuid.uuid1` and `getnode` (start processes, tell the machine's address),
`string.Formatter`, `collections.UserString` and `functools.singledispatch` (read attributes, run
annotations), `typing.get_type_hints` (runs strings), `decimal.setcontext`, `hashlib.file_digest`,
`random.setstate`, `time.tzset`, everything of `asyncio` that shows a loop.
"""

from typing import Final

_ASYNCIO = """
    ALL_COMPLETED Barrier BoundedSemaphore BrokenBarrierError CancelledError Condition Event
    FIRST_COMPLETED FIRST_EXCEPTION InvalidStateError LifoQueue Lock PriorityQueue Queue QueueEmpty
    QueueFull QueueShutDown Semaphore TaskGroup TimeoutError as_completed create_task gather
    iscoroutine iscoroutinefunction shield sleep timeout wait wait_for
"""

_MATH = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist e erf erfc
    exp exp2 expm1 fabs factorial floor fma fmod frexp fsum gamma gcd hypot inf isclose isfinite
    isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2 modf nan nextafter perm pi pow prod
    radians remainder sin sinh sqrt sumprod tan tanh tau trunc ulp
"""

_TYPING = """
    AbstractSet Annotated Any AnyStr AsyncContextManager AsyncGenerator AsyncIterable AsyncIterator
    Awaitable BinaryIO Callable ChainMap ClassVar Collection Concatenate Container ContextManager
    Coroutine Counter DefaultDict Deque Dict Final FrozenSet Generator Generic Hashable IO
    ItemsView Iterable Iterator KeysView List Literal LiteralString Mapping MappingView Match
    MutableMapping MutableSequence MutableSet NamedTuple Never NewType NoReturn NotRequired
    Optional OrderedDict ParamSpec Pattern Protocol Required Reversible Self Sequence Set Sized
    SupportsAbs SupportsBytes SupportsComplex SupportsFloat SupportsIndex SupportsInt SupportsRound
    TYPE_CHECKING Text TextIO Tuple Type TypeAlias TypeGuard TypeVar TypeVarTuple TypedDict Union
    Unpack ValuesView assert_never assert_type cast dataclass_transform final get_args get_origin
    no_type_check overload override reveal_type runtime_checkable
"""

_ABC = """
    AsyncGenerator AsyncIterable AsyncIterator Awaitable Callable Collection Container Coroutine
    Generator Hashable ItemsView Iterable Iterator KeysView Mapping MutableMapping MutableSequence
    MutableSet Reversible Sequence Set Sized ValuesView
"""

_ABOUT_ADDRESS = """
    compressed exploded is_global is_link_local is_loopback is_multicast is_private is_reserved
    is_site_local is_unspecified max_prefixlen reverse_pointer version
"""
_ADDRESS = f"{_ABOUT_ADDRESS} packed ipv4_mapped ipv6_mapped scope_id sixtofour teredo"
_INTERFACE = f"{_ADDRESS} hostmask ip netmask network with_hostmask with_netmask with_prefixlen"
_NETWORK = f"""{_ABOUT_ADDRESS}
    address_exclude broadcast_address compare_networks hostmask hosts netmask network_address
    num_addresses overlaps prefixlen subnet_of subnets supernet supernet_of with_hostmask
    with_netmask with_prefixlen
"""

_DATE = """
    ctime day fromisocalendar fromisoformat fromordinal fromtimestamp isocalendar isoformat
    isoweekday max min month replace resolution strftime timetuple today toordinal weekday year
"""
_TIME = """
    dst fold fromisoformat hour isoformat max microsecond min minute replace resolution second
    strftime tzinfo tzname utcoffset
"""
_DATETIME = f"""{_DATE} {_TIME}
    astimezone combine date now strptime time timestamp timetz utcfromtimestamp utcnow utctimetuple
"""

_RANDOM = """
    betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits
    lognormvariate normalvariate paretovariate randbytes randint random randrange sample seed
    shuffle triangular uniform vonmisesvariate weibullvariate
"""

_URL = """
    count decode encode fragment geturl hostname index netloc params password path port query
    scheme username _asdict _replace _fields
"""

_QUEUE = """
    empty full get get_nowait join maxsize put put_nowait qsize shutdown task_done
"""

_FUTURE = "cancel cancelled done exception result"
_TASK = f"{_FUTURE} cancelling get_name set_name uncancel"
_DICT = "clear copy fromkeys get items keys pop popitem setdefault update values"

_RE = """
    A ASCII DOTALL I IGNORECASE L LOCALE M MULTILINE Match NOFLAG Pattern PatternError RegexFlag S U UNICODE
    VERBOSE X compile error escape findall finditer fullmatch match purge search split sub subn
"""

_LISTED: Final = {
    "asyncio": _ASYNCIO,
    "base64": """a85decode a85encode b16decode b16encode b32decode b32encode b32hexdecode
        b32hexencode b64decode b64encode b85decode b85encode decodebytes encodebytes
        standard_b64decode standard_b64encode urlsafe_b64decode urlsafe_b64encode z85decode
        z85encode""",
    "collections": "ChainMap Counter OrderedDict abc defaultdict deque namedtuple",
    "collections.abc": _ABC,
    "copy": "Error copy deepcopy",
    "dataclasses": """FrozenInstanceError InitVar KW_ONLY MISSING asdict astuple dataclass field
        fields is_dataclass replace""",
    "datetime": "MAXYEAR MINYEAR UTC date datetime time timedelta timezone tzinfo",
    "decimal": """BasicContext Clamped Context Decimal DecimalException DefaultContext
        DivisionByZero ExtendedContext FloatOperation Inexact InvalidOperation MAX_EMAX MAX_PREC
        MIN_EMIN MIN_ETINY Overflow ROUND_05UP ROUND_CEILING ROUND_DOWN ROUND_FLOOR ROUND_HALF_DOWN
        ROUND_HALF_EVEN ROUND_HALF_UP ROUND_UP Rounded Subnormal Underflow getcontext
        localcontext""",
    "enum": """CONTINUOUS Enum EnumCheck Flag IntEnum IntFlag NAMED_FLAGS StrEnum UNIQUE auto
        member nonmember unique verify""",
    "fractions": "Fraction",
    "functools": """cache cached_property cmp_to_key lru_cache partial reduce total_ordering
        wraps""",
    "hashlib": """algorithms_available algorithms_guaranteed blake2b blake2s md5 new pbkdf2_hmac
        scrypt sha1 sha224 sha256 sha384 sha3_224 sha3_256 sha3_384 sha3_512 sha512 shake_128
        shake_256""",
    "hmac": "HMAC compare_digest digest new",
    "ipaddress": """AddressValueError IPV4LENGTH IPV6LENGTH IPv4Address IPv4Interface IPv4Network
        IPv6Address IPv6Interface IPv6Network NetmaskValueError collapse_addresses
        get_mixed_type_key ip_address ip_interface ip_network summarize_address_range
        v4_int_to_packed v6_int_to_packed""",
    "itertools": """accumulate batched chain combinations combinations_with_replacement compress
        count cycle dropwhile filterfalse groupby islice pairwise permutations product repeat
        starmap takewhile tee zip_longest""",
    "json": "JSONDecodeError JSONDecoder JSONEncoder dumps loads",
    "math": _MATH,
    "random": f"{_RANDOM} Random SystemRandom",
    "re": _RE,
    "statistics": """NormalDist StatisticsError correlation covariance fmean geometric_mean
        harmonic_mean linear_regression mean median median_grouped median_high median_low mode
        multimode pstdev pvariance quantiles stdev variance""",
    "string": """Template ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits
        octdigits printable punctuation whitespace""",
    "textwrap": "TextWrapper dedent fill indent shorten wrap",
    "time": """altzone asctime ctime daylight gmtime localtime mktime monotonic monotonic_ns
        perf_counter perf_counter_ns process_time process_time_ns sleep strftime strptime
        struct_time thread_time thread_time_ns time time_ns timezone tzname""",
    "typing": _TYPING,
    "urllib": "parse",
    "urllib.parse": """DefragResult ParseResult SplitResult parse_qs parse_qsl quote
        quote_from_bytes quote_plus unquote unquote_plus unquote_to_bytes urldefrag urlencode
        urljoin urlparse urlsplit urlunparse urlunsplit""",
    "uuid": """NAMESPACE_DNS NAMESPACE_OID NAMESPACE_URL NAMESPACE_X500 RESERVED_FUTURE
        RESERVED_MICROSOFT RESERVED_NCS RFC_4122 UUID uuid3 uuid4 uuid5""",
}

MODULES: Final = {module: frozenset(names.split()) for module, names in _LISTED.items()}
"""Public names of each module that a script may import."""

TYPES: Final = {
    "asyncio": {
        "Task": _TASK,
        "Future": _FUTURE,
        "tasks._GatheringFuture": _FUTURE,
        "Barrier": "abort broken n_waiting parties reset wait",
        "BoundedSemaphore": "acquire locked release",
        "Condition": "acquire locked notify notify_all release wait wait_for",
        "Event": "clear is_set set wait",
        "LifoQueue": _QUEUE,
        "Lock": "acquire locked release",
        "PriorityQueue": _QUEUE,
        "Queue": _QUEUE,
        "Semaphore": "acquire locked release",
    },
    "collections": {
        "ChainMap": """copy get items keys maps new_child parents pop popitem setdefault update
            values""",
        "Counter": f"{_DICT} elements most_common subtract total",
        "OrderedDict": f"{_DICT} move_to_end",
        "defaultdict": f"{_DICT} default_factory",
        "deque": """append appendleft clear copy count extend extendleft index insert maxlen pop
            popleft remove reverse rotate""",
    },
    "dataclasses": {"Field": "compare default default_factory init kw_only metadata name repr"},
    "datetime": {
        "date": _DATE,
        "datetime": _DATETIME,
        "time": _TIME,
        "timedelta": "days max microseconds min resolution seconds total_seconds",
        "timezone": "dst fromutc max min tzname utc utcoffset",
        "tzinfo": "dst fromutc tzname utcoffset",
    },
    "decimal": {
        "Context": """Emax Emin Etiny Etop abs add canonical clamp compare compare_signal
            compare_total compare_total_mag copy copy_abs copy_decimal copy_negate copy_sign
            create_decimal create_decimal_from_float divide divide_int divmod exp fma is_canonical
            is_finite is_infinite is_nan is_normal is_qnan is_signed is_snan is_subnormal is_zero
            ln log10 logb logical_and logical_invert logical_or logical_xor max max_mag min min_mag
            minus multiply next_minus next_plus next_toward normalize number_class plus power prec
            quantize radix remainder remainder_near rotate rounding same_quantum scaleb shift sqrt
            subtract to_eng_string to_integral_exact to_integral_value to_sci_string""",
        "Decimal": """adjusted as_integer_ratio as_tuple canonical compare compare_signal
            compare_total compare_total_mag conjugate copy_abs copy_negate copy_sign exp fma
            from_float imag is_canonical is_finite is_infinite is_nan is_normal is_qnan is_signed
            is_snan is_subnormal is_zero ln log10 logb logical_and logical_invert logical_or
            logical_xor max max_mag min min_mag next_minus next_plus next_toward normalize
            number_class quantize radix real remainder_near rotate same_quantum scaleb shift sqrt
            to_eng_string to_integral to_integral_exact to_integral_value""",
        "DecimalTuple": "count digits exponent index sign _asdict _replace _fields",
    },
    "enum": {"auto": "value"},
    "fractions": {
        "Fraction": """as_integer_ratio conjugate denominator from_decimal from_float imag
            is_integer limit_denominator numerator real"""
    },
    "functools": {
        "_lru_cache_wrapper": "cache_clear cache_info",
        "_CacheInfo": "count currsize hits index maxsize misses _asdict _fields",
        "partial": "args func",
    },
    "hmac": {"HMAC": "block_size copy digest digest_size hexdigest name update"},
    "ipaddress": {
        "IPv4Address": _ADDRESS,
        "IPv6Address": _ADDRESS,
        "IPv4Interface": _INTERFACE,
        "IPv6Interface": _INTERFACE,
        "IPv4Network": _NETWORK,
        "IPv6Network": _NETWORK,
    },
    "itertools": {"chain": "from_iterable"},
    "json": {
        "JSONDecodeError": "args add_note colno doc lineno msg pos",
        "JSONDecoder": "decode raw_decode",
        "JSONEncoder": "default encode iterencode",
    },
    "random": {"Random": _RANDOM, "SystemRandom": _RANDOM},
    "re": {
        "Match": """end endpos expand group groupdict groups lastgroup lastindex pos re span start
            string""",
        "Pattern": """findall finditer flags fullmatch groupindex groups match pattern search split
            sub subn""",
        "RegexFlag": "name value",
        "error": "args add_note colno lineno msg pattern pos",
    },
    "statistics": {
        "LinearRegression": "count index intercept slope _asdict _fields",
        "NormalDist": """cdf from_samples inv_cdf mean median mode overlap pdf quantiles samples
            stdev variance zscore""",
    },
    "string": {"Template": "get_identifiers is_valid safe_substitute substitute template"},
    "textwrap": {"TextWrapper": "fill wrap"},
    "time": {
        "struct_time": """count index n_fields n_sequence_fields n_unnamed_fields tm_gmtoff
            tm_hour tm_isdst tm_mday tm_min tm_mon tm_sec tm_wday tm_yday tm_year tm_zone"""
    },
    "urllib.parse": {
        "DefragResult": "count encode fragment geturl index url _asdict _replace _fields",
        "ParseResult": _URL,
        "ParseResultBytes": _URL,
        "SplitResult": _URL,
        "SplitResultBytes": _URL,
    },
    "uuid": {
        "UUID": """bytes bytes_le clock_seq clock_seq_hi_variant clock_seq_low fields hex int node
            time time_hi_version time_low time_mid urn variant version"""
    },
}
"""Readable attributes, by module and path of the class in it."""

COMPANIONS: Final = {
    "collections": ("heapq",),
    "copy": ("copyreg",),
    "datetime": ("_strptime",),
    "time": ("_strptime",),
    "urllib.parse": ("unicodedata",),
    "uuid": ("hashlib",),
}
"""What a module imports only when it is used: loaded with it, while files can still be read."""
