"""The bench: gateways side by side on one small machine, on loopback."""
