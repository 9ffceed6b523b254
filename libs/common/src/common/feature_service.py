"""The Feature Service over REST: the latest vector of a symbol."""

import httpx
import msgspec

from common.errors import UNREADABLE, TryAgain, Unusable
from common.messages import FeatureVector
from common.neighbour import ask, http_client
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
            ca_file=settings.neighbour_ca_file,
            transport=transport,
        )

    async def latest(self, symbol: str) -> FeatureVector:
        """The vector computed now.

        An unknown symbol has one too, without a price. Raises TryAgain where the service does not answer (it
        answers nothing during a dataset build), Unusable where what it answers is no vector of `symbol`.
        """
        answer = await ask(
            self._http,
            "Feature Service",
            "GET",
            "/features/latest",
            params={"symbol": symbol},
            timeout_s=self._timeout_s,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if answer.status_code != httpx.codes.OK:
            raise TryAgain(
                f"Feature Service answers {answer.status_code} (500: is FEATURE_SERVICE_API_KEY right?)"
            )
        return _vector_of(symbol, answer.content)

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()


def _vector_of(symbol: str, body: bytes) -> FeatureVector:
    try:
        vector = _decoder.decode(body)
    except UNREADABLE as error:
        raise Unusable(f"Feature Service answers no vector: {error}") from error
    if vector.symbol != symbol:
        raise Unusable(f"Feature Service answers {vector.symbol} when asked for {symbol}")
    return vector
