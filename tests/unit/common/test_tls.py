"""Which certificates a client believes."""

import ssl

from common.tls import trusting_nobody


def test_a_client_of_plain_addresses_believes_no_certificate_and_reads_none():
    context = trusting_nobody()

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats() == {"x509": 0, "crl": 0, "x509_ca": 0}
