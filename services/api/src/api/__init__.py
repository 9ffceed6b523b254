"""Management API: versions, metrics, training and monitoring over HTTP."""
