"""Load tests: what Levada costs and what it bears. Nothing in here is shipped."""
