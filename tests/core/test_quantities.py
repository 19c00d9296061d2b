"""Kubernetes quantities."""

from decimal import Decimal

import pytest

from xaas_core.models.quantities import quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("500m", Decimal("0.5")),
        ("0.1", Decimal("0.1")),
        (".5", Decimal("0.5")),
        ("5.", 5),
        ("+2k", 2000),
        ("100n", Decimal("1e-7")),
        (2, 2),
        (0.5, Decimal("0.5")),
    ],
)
def test_what_they_mean(text: object, number: Decimal) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1 Gi", "1gi", "1GiB", "1e", ".", "٣", "1\n", None, True, [], "1" * 40]
)
def test_what_means_nothing(text: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)
