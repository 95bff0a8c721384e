"""ASGI: routes, credentials, protocols."""
