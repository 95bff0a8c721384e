"""SQL that travels with the package: migrations and named queries."""
