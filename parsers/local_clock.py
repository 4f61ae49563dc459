"""Times that are no ISO 8601 with a zone: what a local clock showed, beside a response that has its
time in UTC; and seconds since the beginning of 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER_HOUR = 900


def ahead_of_utc(local: datetime, created: float) -> timedelta:
    """How far a clock is ahead of UTC: the difference to the nearest quarter of an hour.

    Args:
        local: what the clock showed, without a zone, within minutes of `created`.
        created: the same moment in seconds since 1970.
    """
    seconds = (local.replace(tzinfo=UTC) - _EPOCH).total_seconds() - created
    return timedelta(seconds=round(seconds / _QUARTER_HOUR) * _QUARTER_HOUR)


def as_utc(stamp: str, ahead: timedelta | None) -> datetime:
    """The moment that an ISO 8601 time names; without a zone, by a clock so far ahead of UTC.

    Raises:
        ValueError: it names none.
    """
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is not None:
        return moment
    try:
        return moment.replace(tzinfo=UTC) - (ahead or timedelta(0))
    except OverflowError as error:
        raise ValueError(f"not a time: {stamp[:40]}") from error


def clock_time(stamp: str | None) -> datetime | None:
    """What a clock showed; ``None`` if the time is no ISO 8601 or has a zone."""
    try:
        moment = None if stamp is None else datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is None else None


def from_epoch(seconds: float | None) -> datetime | None:
    """The moment so many seconds after the beginning of 1970.

    Raises:
        ValueError: it is after 9999.
    """
    try:
        return None if seconds is None else _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"not a time: {seconds}") from error
