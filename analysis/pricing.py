"""What calls cost: dated rates per model, and the SQL join that applies them.

Prices come from genai-prices, offline, or from a file of the user's own. Its `calc_price` takes
some 90 us a call, so the rates of each model that occurs are flattened into rows, and one join
prices all calls. The library stays the judge: every rate in a row is what its own calculation
charges for a token, so that fallbacks, tiers and dates are its rules and not a copy of them.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint
    from genai_prices.types import TimeOfDateConstraint as TimeOfDayConstraint

ModelKey = tuple[str | None, str]
"""(provider, model) as the log names them."""

DAY_S = 86_400
PER_TOKENS = 1_000_000
ALWAYS = -1
"""`Rate.min_input_tokens` of a price that has no threshold to pass."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one model charges in one window of time, from one size of prompt on.

    The windows and thresholds of a (provider, model) are disjoint and cover all time, unless the
    only price known is an override with dates. Fields are in the order of the columns of
    `PRICES_DDL`, so that ``dataclasses.astuple`` is a row. Rates are USD per million tokens: as
    doubles, which keeps the total of a million calls right to far less than a cent.
    """

    provider: str | None
    model: str
    """Provider and model as the log names them: the key to join calls on."""
    valid_from: datetime | None
    """UTC without a time zone, as DuckDB's TIMESTAMP has it. ``None``: since ever."""
    valid_until: datetime | None
    """The first instant outside the window. ``None``: open."""
    day_from: int
    """Second of the UTC day, 0 to 86,399."""
    day_until: int
    """The first second outside the window, 1 to 86,400."""
    min_input_tokens: int
    """The rate holds for the whole call if its input, cached or not, is more than this."""
    input_usd: float
    cache_read_usd: float
    cache_write_usd: float
    """For writes that live five minutes or as long as the provider decides."""
    cache_write_1h_usd: float
    output_usd: float
    request_usd: float
    """USD for each call, whatever its size."""
    priced_model: str
    """The model of the price list that was found for `model`, or an override's pattern."""
    source: str


PRICES_DDL = """
CREATE TABLE prices (
  provider VARCHAR, model VARCHAR,
  valid_from TIMESTAMP, valid_until TIMESTAMP, day_from INTEGER, day_until INTEGER,
  min_input_tokens BIGINT,
  input_usd DOUBLE, cache_read_usd DOUBLE, cache_write_usd DOUBLE, cache_write_1h_usd DOUBLE,
  output_usd DOUBLE, request_usd DOUBLE,
  priced_model VARCHAR, source VARCHAR
)
"""


def rates_for(
    models: Iterable[ModelKey], overrides: Sequence[Rate] = ()
) -> tuple[list[Rate], list[ModelKey]]:
    """The rates of every model that has a price, and the models that have none.

    A model is looked up at its provider, then by its name alone, with the prefixes and suffixes
    that logs add taken off. Overrides beat the library, and a later one beats an earlier one.
    What is not found, and what is not sold by the token, is unpriced, never free.
    """
    rates: list[Rate] = []
    unpriced: list[ModelKey] = []
    for provider, model in dict.fromkeys(models):
        found = _rates_of(provider, model, overrides)
        rates += found
        if not found:
            unpriced.append((provider, model))
    return rates, unpriced


def _rates_of(provider: str | None, model: str, overrides: Sequence[Rate]) -> list[Rate]:
    own = [override for override in overrides if _applies(override, provider, model)]
    always = any(rate.valid_from is None and rate.valid_until is None for rate in own)
    rates = [] if always else list(_library_rates(provider, model))
    for override in own:
        rates = [piece for rate in rates for piece in _outside(rate, override)]
        rates.append(replace(override, provider=provider, model=model))
    return rates


def _applies(override: Rate, provider: str | None, model: str) -> bool:
    if override.provider is not None and override.provider.lower() != (provider or "").lower():
        return False
    name, pattern = model.lower(), override.model.lower()
    # Equality first: a bracket, as in "claude-opus-4-5[1m]", means something else in a pattern.
    return name == pattern or fnmatchcase(name, pattern)


def _outside(rate: Rate, window: Rate) -> Iterator[Rate]:
    """The parts of `rate` that lie before and after the dates of `window`."""
    start, end = rate.valid_from or datetime.min, rate.valid_until or datetime.max
    if window.valid_from is not None and start < window.valid_from:
        yield replace(rate, valid_until=min(end, window.valid_from))
    if window.valid_until is not None and end > window.valid_until:
        yield replace(rate, valid_from=max(start, window.valid_until))


# --- genai-prices ---


@dataclass(frozen=True, slots=True)
class _Listing:
    """A model in the library's price list, and which of its price variants to ask for."""

    provider: Provider
    info: ModelInfo
    variant: Mapping[str, str] | None = None

    def prices_at(self, instant: datetime) -> ModelPrice | None:
        """``None`` where the library would fall back from the variant to the usual price."""
        usual = self.info.get_prices(instant)
        if self.variant is None:
            return usual
        prices = self.info.get_prices(instant, self.variant)
        return None if prices == usual else prices

    def constraints(self) -> list[StartDateConstraint | TimeOfDayConstraint]:
        """What its prices depend on besides the size of the prompt."""
        from genai_prices.types import ModelPrice

        usual = [] if isinstance(self.info.prices, ModelPrice) else self.info.prices
        variants = (self.info.price_variants or ()) if self.variant is not None else ()
        entries = [*usual, *variants]
        return [entry.constraint for entry in entries if entry.constraint is not None]


class _Charges(NamedTuple):
    """What the library charges at one time for a prompt of one size. Units as in `Rate`."""

    input_usd: float
    cache_read_usd: float
    cache_write_usd: float
    cache_write_1h_usd: float
    output_usd: float
    request_usd: float


_SPEED_SUFFIX = re.compile(r"(?P<model>.+)-(?P<speed>fast|priority|flex)")
_BEDROCK_NAME = re.compile(r"(?:[a-z]+\.)?[a-z0-9]+\.[a-z][\w.:-]*", re.IGNORECASE)
LONGEST_NAME = 256
"""Characters; what is longer is no model's name."""


def _library_rates(provider: str | None, model: str) -> Iterator[Rate]:
    import genai_prices

    listing = _find_listing(provider, model)
    if listing is None:
        return
    constraints = listing.constraints()
    for start, end in _date_windows(constraints):
        for day_from, day_until in _day_windows(constraints):
            some_day = start or (end or datetime(2000, 1, 2)) - timedelta(days=1)
            prices = listing.prices_at(some_day.replace(tzinfo=UTC) + timedelta(seconds=day_from))
            if prices is None or not _sold_by_token(listing.info, prices):
                continue
            for threshold in _thresholds(prices):
                charges = _probe(prices, max(threshold, 0) + 1)
                yield Rate(
                    provider=provider,
                    model=model,
                    valid_from=start,
                    valid_until=end,
                    day_from=day_from,
                    day_until=day_until,
                    min_input_tokens=threshold,
                    input_usd=charges.input_usd,
                    cache_read_usd=charges.cache_read_usd,
                    cache_write_usd=charges.cache_write_usd,
                    cache_write_1h_usd=charges.cache_write_1h_usd,
                    output_usd=charges.output_usd,
                    request_usd=charges.request_usd,
                    priced_model=listing.info.id,
                    source=f"genai-prices {genai_prices.__version__}",
                )


def without_mark(model: str) -> str:
    """A model's name without a client's mark at its end.

    >>> without_mark("claude-opus-4-5[1m]")
    'claude-opus-4-5'
    """
    return re.sub(r"\[[^\[\]]*\]$", "", model.strip())


def _find_listing(provider: str | None, model: str) -> _Listing | None:
    """The price list's entry for a model, under any of the names that logs give it."""
    name = without_mark(model)
    if not 0 < len(name) <= LONGEST_NAME:
        return None
    found = _look_up(provider, name)
    suffix = _SPEED_SUFFIX.fullmatch(name.lower())
    if suffix is None or (found is not None and suffix["speed"] in found.info.id):
        return found
    # "claude-opus-5-fast" is how logs and tools write a model run at another speed and price.
    # Without a price of that speed the model is unpriced: its usual price would be wrong.
    base = _look_up(provider, suffix["model"])
    if base is not None:
        for variant in base.info.price_variants or ():
            if list(variant.when.values()) == [suffix["speed"]]:
                return replace(base, variant=variant.when)
    return None


def newest_price(until: date | None = None) -> date | None:
    """The day of the book's latest change of a price, which dates the book: it states no date of its
    own.

    Args:
        until: later changes do not count.
    """
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import StartDateConstraint

    days = [
        price.constraint.start_date
        for provider in get_snapshot().providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
        if isinstance(price.constraint, StartDateConstraint)
    ]
    return max((day for day in days if until is None or day <= until), default=None)


def _look_up(provider: str | None, name: str) -> _Listing | None:
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()  # the one inside the package; only an explicit update downloads
    for provider_id, reference in model_references(provider, name):
        try:
            return _Listing(*snapshot.find_provider_model(reference, None, provider_id, None))
        except LookupError:
            continue
    return None


def model_references(provider: str | None, name: str) -> Iterator[tuple[str | None, str]]:
    """Ways to ask for a model, most specific first.

    >>> for reference in model_references("openrouter", "anthropic/claude-opus-5"):
    ...     print(reference)
    ('openrouter', 'anthropic/claude-opus-5')
    (None, 'anthropic/claude-opus-5')
    ('openrouter', 'claude-opus-5')
    ('anthropic', 'claude-opus-5')
    (None, 'claude-opus-5')
    """
    parts = name.split("/")
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        if provider:
            yield provider, tail
        if start:
            yield parts[start - 1], tail
        yield None, tail
    if _BEDROCK_NAME.fullmatch(parts[-1]):
        yield "aws", parts[-1]


def _date_windows(
    constraints: Iterable[StartDateConstraint | TimeOfDayConstraint],
) -> list[tuple[datetime | None, datetime | None]]:
    from genai_prices.types import StartDateConstraint

    starts = {c.start_date for c in constraints if isinstance(c, StartDateConstraint)}
    cuts = [datetime.combine(start, time()) for start in sorted(starts)]
    return list(pairwise([None, *cuts, None]))


def _day_windows(
    constraints: Iterable[StartDateConstraint | TimeOfDayConstraint],
) -> list[tuple[int, int]]:
    from genai_prices.types import StartDateConstraint

    cuts = {0, DAY_S}
    for constraint in constraints:
        if not isinstance(constraint, StartDateConstraint):
            cuts |= {_utc_second(constraint.start_time), _utc_second(constraint.end_time)}
    return list(pairwise(sorted(cuts)))


def _utc_second(clock: time) -> int:
    if clock.tzinfo is not None:
        clock = datetime.combine(date(2000, 1, 1), clock).astimezone(UTC).time()
    return clock.hour * 3600 + clock.minute * 60 + clock.second


def _sold_by_token(info: ModelInfo, prices: ModelPrice) -> bool:
    # Entries without prices stand for subscriptions and for prices nobody knows. Only a name that
    # says so means free.
    return prices.input_mtok is not None or info.id.endswith(":free")


def _thresholds(prices: ModelPrice) -> list[int]:
    from genai_prices.types import TieredPrices

    tiered = [price for price in vars(prices).values() if isinstance(price, TieredPrices)]
    return sorted({ALWAYS, *(tier.start for price in tiered for tier in price.tiers)})


def _probe(prices: ModelPrice, prompt: int) -> _Charges:
    from genai_prices import Usage

    def charge(output: int = 0, **parts: int) -> Decimal:
        usage = Usage(input_tokens=prompt, output_tokens=output, **parts)
        return prices.calc_price(usage)["total_price"]

    request = prices.calc_price(Usage(input_tokens=0, output_tokens=0))["total_price"]
    uncached = charge()
    read = charge(cache_read_tokens=prompt)
    write = charge(cache_write_tokens=prompt)
    write_1h = charge(cache_write_tokens=prompt, cache_write_1h_tokens=prompt)
    output = charge(output=prompt)
    scale = Decimal(PER_TOKENS) / prompt
    return _Charges(
        input_usd=float((uncached - request) * scale),
        cache_read_usd=float((read - request) * scale),
        cache_write_usd=float((write - request) * scale),
        cache_write_1h_usd=float((write_1h - request) * scale),
        output_usd=float((output - uncached) * scale),
        request_usd=float(request),
    )


# --- a user's own prices ---

_PRICE_KEYS = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
_KNOWN_KEYS = ("model", "provider", *_PRICE_KEYS, "valid_from", "valid_until")


def load_overrides(path: Path) -> list[Rate]:
    """Read a price file: TOML, or JSON if its name ends so, with a list of tables named `price`.

    Each has `model` (a name, or a pattern with ``*`` and ``?``), `input` and `output`, and may
    have `provider`, `cache_read`, `cache_write`, `cache_write_1h` (USD per million tokens) and
    `valid_from`, `valid_until` (dates; the second is the first day it no longer holds). Reads and
    writes without a price of their own cost what input costs, 1 h writes what other writes cost.

    Raises:
        ForkpointError: the file cannot be read, or holds anything else. Says which entry and why.
    """
    document = _read_document(path)
    entries = document.get("price") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(document) != 1:
        raise ForkpointError(f"{path}: must hold a list of tables named 'price' and nothing else")
    rates = []
    for number, entry in enumerate(entries, start=1):
        try:
            rates.append(_override(entry, source=str(path)))
        except ForkpointError as error:
            raise ForkpointError(f"{path}: price {number}: {error}") from error
    return rates


def _read_document(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ForkpointError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # both parsers' errors are ValueErrors
        raise ForkpointError(f"{path}: cannot be read as a price file: {error}") from error


def _override(entry: object, source: str) -> Rate:
    if not isinstance(entry, dict):
        raise ForkpointError("is not a table")
    unknown = sorted(entry.keys() - set(_KNOWN_KEYS))
    if unknown:
        raise ForkpointError(f"unknown key {unknown[0]!r}; known are {', '.join(_KNOWN_KEYS)}")
    model, provider = entry.get("model"), entry.get("provider")
    if not isinstance(model, str) or not model:
        raise ForkpointError("'model' must be a name or a pattern")
    if provider is not None and not isinstance(provider, str):
        raise ForkpointError("'provider' must be a name")
    usd = {key: _dollars(key, entry[key]) for key in _PRICE_KEYS if key in entry}
    for key in ("input", "output"):
        if key not in usd:
            raise ForkpointError(f"{model!r} has no {key!r} price")
    start, end = (instant(key, entry.get(key)) for key in ("valid_from", "valid_until"))
    if start is not None and end is not None and start >= end:
        raise ForkpointError("'valid_until' must be later than 'valid_from'")
    write = usd.get("cache_write", usd["input"])
    return Rate(
        provider=provider,
        model=model,
        valid_from=start,
        valid_until=end,
        day_from=0,
        day_until=DAY_S,
        min_input_tokens=ALWAYS,
        input_usd=usd["input"],
        cache_read_usd=usd.get("cache_read", usd["input"]),
        cache_write_usd=write,
        cache_write_1h_usd=usd.get("cache_write_1h", write),
        output_usd=usd["output"],
        request_usd=0.0,
        priced_model=model,
        source=source,
    )


def _dollars(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ForkpointError(f"{key!r} must be a number of dollars per million tokens")
    try:
        dollars = float(value)
    except OverflowError:
        dollars = math.inf
    if not math.isfinite(dollars) or dollars < 0:
        raise ForkpointError(f"{key!r} must be zero or more, and finite")
    return dollars


def instant(key: str, value: object) -> datetime | None:
    """A date, a time, or the ISO form of either: as UTC without a time zone."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except (ValueError, OverflowError):
        value = None
    if isinstance(value, date):
        return datetime.combine(value, time())
    raise ForkpointError(f"{key!r} must be a date such as 2026-01-31")


# --- the join ---

_PRICED_CALLS = """
WITH tiers AS (
  SELECT *,
    lead(min_input_tokens) OVER (
      PARTITION BY provider, model, valid_from, day_from ORDER BY min_input_tokens
    ) AS max_input_tokens
  FROM {prices}
), usage AS (
  SELECT *,
    coalesce(started_at, date_trunc('day', make_timestamp(epoch_us(now())))) AS _at,
    hour(_at) * 3600 + minute(_at) * 60 + second(_at) AS _second_of_day,
    coalesce(cache_read_tokens, 0) AS _read,
    coalesce(cache_write_1h_tokens, 0) AS _write_1h,
    coalesce(cache_write_tokens, 0) - _write_1h AS _write,
    input_tokens - _read - _write - _write_1h AS _uncached
  FROM {calls}
)
SELECT {keep},
  _uncached * p.input_usd / 1e6 AS uncached_usd,
  _read * p.cache_read_usd / 1e6 AS cache_read_usd,
  (_write * p.cache_write_usd + _write_1h * p.cache_write_1h_usd) / 1e6 AS cache_write_usd,
  c.output_tokens * p.output_usd / 1e6 AS output_usd,
  p.request_usd AS request_usd,
  (_uncached * p.input_usd + _read * p.cache_read_usd + _write * p.cache_write_usd
    + _write_1h * p.cache_write_1h_usd + c.output_tokens * p.output_usd) / 1e6
    + p.request_usd AS cost_usd,
  (_read * (p.input_usd - p.cache_read_usd) - _write * (p.cache_write_usd - p.input_usd)
    - _write_1h * (p.cache_write_1h_usd - p.input_usd)) / 1e6 AS realized_saving_usd,
  p.input_usd AS input_rate_usd,
  p.cache_read_usd AS cache_read_rate_usd,
  p.cache_write_usd AS cache_write_rate_usd,
  p.cache_write_1h_usd AS cache_write_1h_rate_usd,
  p.output_usd AS output_rate_usd,
  p.priced_model AS priced_model
FROM usage c LEFT JOIN tiers p
  ON c.model = p.model AND c.provider IS NOT DISTINCT FROM p.provider
  AND (p.valid_from IS NULL OR c._at >= p.valid_from)
  AND (p.valid_until IS NULL OR c._at < p.valid_until)
  AND c._second_of_day >= p.day_from AND c._second_of_day < p.day_until
  AND {sizing} > p.min_input_tokens
  AND (p.max_input_tokens IS NULL OR {sizing} <= p.max_input_tokens)
  AND c.output_tokens IS NOT NULL
  AND c._uncached >= 0 AND c._write >= 0
"""

_ALL_COLUMNS = "c.* EXCLUDE (_at, _second_of_day, _read, _write_1h, _write, _uncached)"


def priced_calls_sql(
    calls: str = "calls",
    prices: str = "prices",
    keep: str = _ALL_COLUMNS,
    sizing: str = "c.input_tokens",
) -> str:
    """A query with one row per call of the table `calls` and what the call cost.

    `calls` has the columns provider, model, started_at (TIMESTAMP, UTC), input_tokens (all of
    them), cache_read_tokens, cache_write_tokens (all), cache_write_1h_tokens and output_tokens;
    `prices` holds `Rate` rows; `keep` is a select list over ``c``, the calls; `sizing` is the prompt
    size that thresholds of a price look at. Rows gain:

    - ``cost_usd`` = ``uncached_usd`` + ``cache_read_usd`` + ``cache_write_usd`` (all writes)
      + ``output_usd`` + ``request_usd``;
    - ``realized_saving_usd``: what the call would have cost more, had nothing been cached. It is
      negative where writes cost more than reads saved;
    - ``input_rate_usd``, ``cache_read_rate_usd``, ``cache_write_rate_usd`` (not 1 h),
      ``cache_write_1h_rate_usd``, ``output_rate_usd``: per million tokens, at the call's time and
      size; ``priced_model``.

    All of them are NULL for a call that cannot be priced: no price for its model then, input or
    output not stated, or parts that exceed the whole. Cache counts not stated are priced as none.
    A call without a time is priced as of midnight UTC today.
    """
    return _PRICED_CALLS.format(calls=calls, prices=prices, keep=keep, sizing=sizing)
