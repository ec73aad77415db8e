"""How the certificate of an https address is checked."""

from __future__ import annotations

import ssl

from modules.errors import LoadFailed


def tls_of(verify: bool, ca_file: str) -> ssl.SSLContext:
    """The rules: by the system's authorities, by those in `ca_file`, or not at all. Raises LoadFailed."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise LoadFailed(f"The ca_file of the endpoint holds no certificates: {error.strerror or error}.",
                         hint="It has to be a PEM file.") from error  # fmt: skip
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not ca_file and not context.cert_store_stats()["x509_ca"]:  # Pythons that do not find the system's
        import certifi

        context.load_verify_locations(certifi.where())
    return context
