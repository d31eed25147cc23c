"""The chaos run: calls with faults on all sides, and an oracle that knows what each had to cost."""
