"""A Girder server that serves whole slides and, cut and scaled by itself, regions of them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from unet_exp.data._download._content import Check, read_json
from unet_exp.data._download._fetch import FailedFile, RemoteFile, fetch_files, try_files
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.errors import DataError


class Item(BaseModel):
    """A slide in the server's folder.

    Args:
        id: The server's name for it.
        name: Its file name, e.g. `TCGA-A1-A0SK-01Z-00-DX1.<uuid>.svs`.
    """

    id: str = Field(alias="_id", pattern=r"^\w+$")  # becomes part of a file name here
    name: str


class Slide(BaseModel):
    """What the server knows about a slide.

    Args:
        sizeX: Width in pixels at base magnification.
        sizeY: Height in pixels at base magnification.
        magnification: Of the objective.
        mm_x: Millimetres per pixel at base magnification.
    """

    sizeX: int  # noqa: N815 - the server's spelling
    sizeY: int  # noqa: N815
    magnification: float | None = None
    mm_x: float | None = None

    def mpp(self) -> float:
        """Micrometres per pixel at base magnification.

        Raises:
            DataError: If the server does not know it: it would then ignore the wanted scale.
        """
        if not self.mm_x:
            raise DataError("the server does not know the slide's resolution, so it cannot bring it to data.mpp")
        return self.mm_x * 1000


class _Token(BaseModel):
    token: str


class _Login(BaseModel):
    authToken: _Token  # noqa: N815 - the server's spelling


_ITEMS = TypeAdapter(list[Item])
_SLIDE = TypeAdapter(Slide)


class Girder:
    """One server.

    Args:
        url: Its API, e.g. `https://host/api/v1`.
        api_key: None for anonymous access.
        settings: How patient to be.
        scratch: Folder for its answers.
    """

    def __init__(self, url: str, api_key: str | None, settings: DownloadSettings, scratch: Path) -> None:
        self._url = url.rstrip("/")
        self.settings = settings
        self._scratch = scratch
        self._api_key = api_key

    @functools.cached_property
    def _headers(self) -> dict[str, str]:
        return {"Girder-Token": _login(self._url, self._api_key, self.settings)} if self._api_key else {}

    def items(self, folder: str) -> list[Item]:
        """The slides in a folder.

        Raises:
            DataError: If the server does not answer, refuses the key, or does not send a list of slides.
        """
        path = self._scratch / "items.json"
        path.unlink(missing_ok=True)  # of an earlier call: what was missing then may be there now

        def check(answer: Path) -> None:
            read_json(answer, _ITEMS)

        file = self._file("item", path, check, {"folderId": folder, "limit": "1000000"})
        fetch_files([file], self.settings, title="List of slides")
        return read_json(path, _ITEMS)

    def slides(self, items: Sequence[Item]) -> tuple[dict[str, Slide], dict[str, str]]:
        """Size and resolution of slides.

        Args:
            items: Which ones.

        Returns:
            The slides by the id of their item, and for those that could not be had, the reasons.
        """

        def check(answer: Path) -> None:
            read_json(answer, _SLIDE)

        paths = {item.id: self._scratch / "slides" / f"{item.id}.json" for item in items}
        files = [self._file(f"item/{key}/tiles", path, check, {}) for key, path in paths.items()]
        failed: list[FailedFile] = try_files(files, self.settings, title="Sizes of slides")
        reasons = {failure.path.stem: failure.reason for failure in failed}
        return {key: read_json(path, _SLIDE) for key, path in paths.items() if key not in reasons}, reasons

    def region(self, item: Item, path: Path, check: Check, query: Mapping[str, str]) -> RemoteFile:
        """A part of a slide.

        Args:
            item: The slide.
            path: Where its image will be.
            check: Examines the image.
            query: Bounds and scale.
        """
        return self._file(f"item/{item.id}/tiles/region", path, check, query)

    def _file(self, endpoint: str, path: Path, check: Check, params: Mapping[str, str]) -> RemoteFile:
        return RemoteFile(url=f"{self._url}/{endpoint}", path=path, check=check, params=params, headers=self._headers)


def _login(url: str, api_key: str, settings: DownloadSettings) -> str:
    """Exchange a key for a token that is valid for a while."""
    post = Retrying(
        retry=retry_if_exception_type(httpx.TransportError),
        stop=stop_after_attempt(settings.attempts),
        wait=wait_exponential_jitter(initial=settings.backoff, max=60, jitter=settings.backoff),
        reraise=True,
    )
    timeout = httpx.Timeout(settings.stall_timeout, connect=settings.connect_timeout)
    try:
        # In the body, not in the address: servers and proxies write addresses to their logs.
        answer = post(httpx.post, f"{url}/api_key/token", data={"key": api_key}, timeout=timeout)
        answer.raise_for_status()
        return _Login.model_validate_json(answer.content).authToken.token
    except httpx.HTTPStatusError as error:
        raise DataError(f"{url} refused the API key (status {error.response.status_code}); correct it.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError(f"{url} cannot be reached to log in ({error}).") from None
    except ValidationError:
        raise DataError(f"{url} answered the API key with something that is not a Girder login.") from None
