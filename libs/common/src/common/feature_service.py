"""The Feature Service over REST: the latest vector of a symbol."""

import asyncio

import httpx
import msgspec

from common import tracing
from common.errors import TryAgain, Unusable
from common.messages import FeatureVector
from common.neighbour import http_client
from common.settings import FeatureServiceSettings

MAX_ANSWER_BYTES = 1_000_000
"""A longer answer is garbage."""

_decoder = msgspec.json.Decoder(FeatureVector)


class FeatureService:
    """A client with one connection pool; close it with `aclose`."""

    def __init__(
        self, settings: FeatureServiceSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._timeout_s = settings.feature_service_timeout_seconds
        self._http = http_client(
            settings.feature_service_url(),
            settings.feature_service_api_key,
            timeout_s=self._timeout_s,
            transport=transport,
        )

    async def latest(self, symbol: str) -> FeatureVector:
        """The vector computed now.

        An unknown symbol has one too, without a price. Raises TryAgain where the service does not answer (it
        answers nothing during a dataset build), Unusable where what it answers is no vector of `symbol`.
        """
        try:
            # Around the whole exchange: the client's own limit begins anew with every byte.
            async with asyncio.timeout(self._timeout_s):
                body = await self._latest(symbol)
        except (httpx.HTTPError, TimeoutError) as error:
            raise TryAgain(f"Feature Service: {type(error).__name__}: {error}") from error
        return _vector_of(symbol, body)

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    async def _latest(self, symbol: str) -> bytes:
        headers = {"X-Trace-ID": tracing.current()}
        async with self._http.stream(
            "GET", "/features/latest", params={"symbol": symbol}, headers=headers
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise TryAgain(
                    f"Feature Service answers {answer.status_code} (500: is FEATURE_SERVICE_API_KEY right?)"
                )
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise Unusable(
                        f"Feature Service answers more than {MAX_ANSWER_BYTES} bytes for one vector"
                    )
            return bytes(body)


def _vector_of(symbol: str, body: bytes) -> FeatureVector:
    try:
        vector = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Unusable(f"Feature Service answers no vector: {error}") from error
    if vector.symbol != symbol:
        raise Unusable(f"Feature Service answers {vector.symbol} when asked for {symbol}")
    return vector
