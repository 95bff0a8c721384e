"""The command line: the client (public API only) and the operator."""
