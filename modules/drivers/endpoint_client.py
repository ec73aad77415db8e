"""The HTTP client for an endpoint: its key, its headers, and how its certificate is checked."""

from __future__ import annotations

from modules.drivers.http_client import HttpClient
from modules.sampling.params import LLAMA
from modules.types import Endpoint
from modules.web.tls import tls_of


def client_of(endpoint: Endpoint) -> HttpClient:
    """A client whose routes lie below the endpoint's address. Raises LoadFailed for a bad certificate file."""
    tls = tls_of(endpoint.verify, endpoint.ca_file) if endpoint.url.startswith("https:") else None
    headers = endpoint.headers if endpoint.hosted else {"User-Agent": "enginehouse", **endpoint.headers}
    watched = endpoint.hosted and endpoint.flavour == LLAMA  # by its worker, which knows more than its silence
    return HttpClient(endpoint.url, endpoint.key, headers, tls, 0.0 if watched else endpoint.timeout)
