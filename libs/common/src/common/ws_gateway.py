"""The ws-gateway over REST: asks it to write the account's balances anew."""

from typing import Literal

import httpx
from pydantic import SecretStr

from common.errors import TryAgain, Unusable
from common.neighbour import ask, http_client
from common.settings import NeighbourSettings, Port

TIMEOUT_S = 5.0
"""Longest wait for its answer: it asks the exchange."""
MAX_ANSWER_BYTES = 1_000_000
"""A longer answer is garbage."""


class WsGatewaySettings(NeighbourSettings):
    """How to reach the ws-gateway."""

    ws_gateway_scheme: Literal["http", "https"] = "http"
    """https: encrypted, certificate and host name verified."""

    ws_gateway_host: str | None = None
    """Host of the ws-gateway; unset: it is never asked to refresh balances."""
    ws_gateway_port: Port = 4400
    """Its port."""
    ws_gateway_api_key: SecretStr = SecretStr("")
    """Sent as X-API-Key."""

    def ws_gateway_url(self) -> str:
        """Base URL of its REST interface."""
        return f"{self.ws_gateway_scheme}://{self.ws_gateway_host or 'localhost'}:{self.ws_gateway_port}"


class WsGateway:
    """A client with one connection pool; close it with `aclose`."""

    def __init__(
        self, settings: WsGatewaySettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = http_client(
            settings.ws_gateway_url(),
            settings.ws_gateway_api_key,
            timeout_s=TIMEOUT_S,
            ca_file=settings.neighbour_ca_file,
            transport=transport,
        )

    async def sync_balances(self) -> None:
        """account_balances has fresh rows. Raises TryAgain where the ws-gateway does not say so."""
        try:
            answer = await ask(
                self._http,
                "ws-gateway",
                "POST",
                "/api/v1/balances/sync",
                timeout_s=TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except Unusable as error:
            raise TryAgain(str(error)) from error
        if answer.is_error or answer.is_redirect:
            raise TryAgain(f"ws-gateway answers {answer.status_code}")

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()
