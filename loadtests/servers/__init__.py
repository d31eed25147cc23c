"""Real stores as processes of their own, for tests and load tests."""
