"""The transfer layer by itself."""

from tests.transfers import bench, threads  # noqa: F401
