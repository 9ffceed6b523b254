"""Whose certificates are believed: those of the machine, or of one file of authorities."""

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def trusting(ca_file: Path | None, *, names_host: bool = True) -> ssl.SSLContext:
    """A context that verifies certificates, and where `names_host` that they name the host that was asked."""
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.check_hostname = names_host
    return context


def trusting_nobody() -> ssl.SSLContext:
    """A context that accepts no certificate, for what is asked without TLS: it reads no authorities.

    httpx would read its own, which takes each client 25 ms and 1 MB.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _authorities(path: Path) -> Path:
    try:
        trusting(path)
    except OSError as error:  # an SSLError is one, too
        raise ValueError("must be a readable file of certificates (PEM)") from error
    return path


CaFile = Annotated[Path, AfterValidator(_authorities)]
"""A file with the certificates of the authorities that are believed, and of no other."""
