"""Sockets, TLS, server-sent events, run.json and the browser's files; no web framework."""
