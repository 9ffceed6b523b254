"""What requests may say: the parameters that several routes share, and that nothing else is accepted."""

from typing import Annotated, Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.params import PathParameter, QueryParameter

STORABLE = r"^[^\x00]+$"
"""PostgreSQL stores no NUL."""
SAID = r"^[^\x00]*[^\x00\s][^\x00]*$"
"""Storable, and not blank: a space is no reason."""
SYMBOL = r"^[A-Z0-9]{4,20}$"
"""What a symbol looks like."""
ACTOR = "api"
"""Who acts where a request names nobody: whoever holds the key."""

StrategyFilter = Annotated[
    str | None, QueryParameter(max_length=100, pattern=STORABLE, description="Only this strategy's.")
]
SymbolFilter = Annotated[
    str | None, QueryParameter(max_length=50, pattern=STORABLE, description="Only this symbol's.")
]
StrategyPath = Annotated[str, PathParameter(max_length=100, pattern=STORABLE)]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="Rows at most.")]
Offset = Annotated[int, QueryParameter(ge=0, le=1_000_000_000, description="Rows to skip.")]

StrategyId = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=STORABLE)]
Actor = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=SAID)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=SAID)]


async def only_known_parameters(connection: ASGIConnection[Any, Any, Any, Any], _: object) -> None:
    """Guard: a query parameter that the route does not have, or one said twice, is an error, not ignored.

    Async: what is not runs in a thread, for every request.
    """
    signature = connection.route_handler.parsed_fn_signature
    known = {
        field.kwarg_definition.name or name
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
    given = [name for name, _ in connection.query_params.multi_items()]
    faults = [
        {"key": name, "message": "no such parameter" if name not in known else "given more than once"}
        for name in sorted(set(given))
        if name not in known or given.count(name) > 1
    ]
    if faults:
        raise ValidationException(extra=faults)
