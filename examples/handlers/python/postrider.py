"""What an HTTP answer means for a delivery. Yours to change."""

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from componentize_py_types import Err
from wit_world.exports.handler import (
    Failure_Gone,
    Failure_Rejected,
    Failure_Retry,
    Receipt,
    Retry,
    Scope,
)
from wit_world.imports import http

WEEK = 7 * 24 * 60 * 60


def verdict(response: http.Response) -> Receipt:
    """Delivered, or raises: 429 and 503 may say how long to wait, 410 is for ever, other 4xx are final."""
    status = response.status
    if 200 <= status < 300:
        return Receipt(id=None, note=str(status))
    excerpt = " ".join(response.body[:200].decode(errors="replace").split())
    reason = f"{status}: {excerpt}" if excerpt else str(status)
    if status == 410:
        raise Err(Failure_Gone(reason))
    if status in (429, 503):
        wait = retry_after(dict(response.headers).get("retry-after", ""))
        whole = status == 429 or wait is not None
        raise retry(reason, wait, Scope.DESTINATION if whole else Scope.DELIVERY)
    if 300 <= status < 500 and status not in (408, 409, 425):
        raise Err(Failure_Rejected(reason))
    raise retry(reason)


def failure_of(error: http.HttpError) -> Err:
    """No answer at all. Only a malformed request is final."""
    kind = type(error).__name__.removeprefix("HttpError_").lower()
    reason = f"{kind}: {error.value}" if hasattr(error, "value") else kind
    if isinstance(error, http.HttpError_Invalid):
        return Err(Failure_Rejected(reason))
    return retry(reason)


def retry(reason: str, wait: float | None = None, scope: Scope = Scope.DELIVERY) -> Err:
    """Try again, after `wait` seconds at the earliest."""
    after_ms = None if wait is None else int(wait * 1000)
    return Err(Failure_Retry(Retry(reason=reason, after_ms=after_ms, scope=scope)))


def retry_after(value: str) -> float | None:
    """Reads a `Retry-After`: seconds, or a date. None where it asks for no wait."""
    value = value.strip()
    try:
        if value.replace(".", "", 1).isdecimal() and value.isascii():
            wait = float(value)
        else:
            wait = (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(wait, WEEK) if wait > 0 else None
