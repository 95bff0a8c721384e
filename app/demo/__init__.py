"""The first start's example."""
