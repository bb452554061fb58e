"""One try at one file: ask for what is missing, and take it only if it continues what is there."""

import email.utils
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import httpx

from unet_exp.data._download._content import Check, looks_like_web_page
from unet_exp.data._download._folder import require_space
from unet_exp.data._download._part import Origin, PartFile
from unet_exp.errors import DataError

_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")
_LONGEST_WAIT_ASKED_FOR = 600.0
# 202: figshare's answer while it makes up its mind; 408, 425, 429: come back later.
_COME_BACK = frozenset({202, 408, 425, 429})


class TransientError(Exception):
    """This try failed, the next one may not.

    Args:
        reason: What happened, in words.
        retry_after: Seconds that the server asks to wait.
        unreachable: The server did not answer at all.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.unreachable = unreachable


class PermanentError(Exception):
    """Trying again would not help."""


class StoppedError(Exception):
    """The user, or a full disk, ended the download."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file to fetch.

    Args:
        url: Its address, http or https.
        path: Where it will be.
        size: Its size in bytes, if known beforehand.
        check: Called with the file before it gets its name; raises DataError if the content is wrong.
        params: Added to the address as its query.
        headers: Sent with the request, e.g. an access token. Redirects are then refused: they would carry it away.

    Raises:
        DataError: If the address is not http or https.
    """

    url: str
    path: Path
    size: int | None = None
    check: Check | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise DataError(f"{self.url!r} is not an address ({error}).") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise DataError(
                f"{self.url!r} cannot be downloaded: an address starts with https:// or http://. "
                "To use files on this machine, set data.root to their folder."
            )

    @property
    def address(self) -> str:
        """The complete address, with its query."""
        return str(httpx.URL(self.url).copy_merge_params(dict(self.params)))

    @property
    def host(self) -> str:
        """The server's name."""
        return httpx.URL(self.url).host


def transfer(
    client: httpx.Client, file: RemoteFile, part: PartFile, report: Callable[[int, int | None], None], stop: Event
) -> None:
    """Bring `part` to its full size.

    Args:
        client: Shared by all transfers.
        file: What is wanted.
        part: What has arrived so far; continued if the server still has the same version.
        report: Told the bytes that have arrived and, where known, the total, whenever it changes.
        stop: When set, nothing more is written.

    Raises:
        TransientError: If it broke off; what arrived is kept.
        PermanentError: If the server refuses.
        DataError: If there is no room.
        StoppedError: If `stop` was set.
        OSError: If the disk cannot be written to.
    """
    origin = part.origin(file.address)
    if origin is not None and origin.total == part.size:
        return  # only the check is missing
    headers = {"Accept-Encoding": "identity", **file.headers}  # ranges and lengths are of the file itself
    if origin is not None and origin.validator is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": origin.validator}
    try:
        with client.stream("GET", file.address, headers=headers, follow_redirects=not file.headers) as response:
            _receive(response, file, part, origin, report, stop)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _explain(error, file.host) from error


def _receive(
    response: httpx.Response,
    file: RemoteFile,
    part: PartFile,
    origin: Origin | None,
    report: Callable[[int, int | None], None],
    stop: Event,
) -> None:
    _require_success(response, part)
    chunks = response.iter_raw()
    head = next(chunks, b"")
    # Before anything is written: such an answer must not cost the half file that is already here.
    if looks_like_web_page(head):
        raise PermanentError(
            "the server answered with a web page instead of the file. Is there a login page in between "
            "(hotel or campus network, proxy), or has the address changed?"
        )
    total = _total(response)
    if file.size is not None and total is not None and total != file.size:
        raise TransientError(f"the server offers {total} bytes where {file.size} are expected")
    resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
    if resumed:
        _require_continuation(response, part, origin, total)
    require_space(part.path.parent, (total or 0) - (part.size if resumed else 0))
    fresh = Origin(address=file.address, validator=_validator(response), total=total)
    with part.resume() if resumed else part.start(fresh) as output:
        for chunk in _with_head(head, chunks):
            if stop.is_set():
                raise StoppedError
            output.write(chunk)
            report(output.tell(), total)
    if total is not None and part.size != total:
        raise TransientError(f"the transfer ended after {part.size} of {total} bytes")


def _with_head(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _require_success(response: httpx.Response, part: PartFile) -> None:
    status = response.status_code
    if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise PermanentError(f"the server compresses the file ({encoding}) although it was asked not to")
        return
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.discard()
        raise TransientError("the file has become shorter on the server; it is fetched anew")
    phrase = f"the server answered {status} {response.reason_phrase}".strip()
    if status in _COME_BACK or status >= 500:
        wait = _retry_after(response)
        if wait is not None and wait > _LONGEST_WAIT_ASKED_FOR:
            raise PermanentError(f"{phrase} and asks to come back in {wait:.0f} s")
        raise TransientError(phrase, retry_after=wait)
    raise PermanentError(phrase)


def _require_continuation(response: httpx.Response, part: PartFile, origin: Origin | None, total: int | None) -> None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    # Not every server heeds If-Range: compare what it says about the file with what was said before.
    same = origin is not None and _validator(response) in (origin.validator, None) and total == origin.total
    if match is None or match["start"] != str(part.size) or not same:
        part.discard()
        raise TransientError("the file has changed on the server; it is fetched anew")


def _total(response: httpx.Response) -> int | None:
    """Size of the whole file in bytes, if the server says it."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return int(match["total"]) if match and match["total"].isdigit() else None
    length: str = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _validator(response: httpx.Response) -> str | None:
    """What identifies this version of the file; a weak ETag does not promise equal bytes."""
    etag: str | None = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    modified: str | None = response.headers.get("Last-Modified")
    return modified


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait; it may name a number or a date."""
    value: str | None = response.headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _explain(error: httpx.HTTPError | httpx.InvalidURL, host: str) -> TransientError | PermanentError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return PermanentError(f"the certificate of {host} is not valid; is there a proxy in between? ({error})")
    if isinstance(error, (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL)):
        return PermanentError(f"the server redirects to where nothing can be fetched ({error})")
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
        return TransientError(f"{host} cannot be reached ({error or 'no answer'})", unreachable=True)
    if isinstance(error, httpx.TimeoutException):
        return TransientError(f"{host} sent nothing for too long")
    return TransientError(f"the connection to {host} broke ({error or type(error).__name__})")
