"""The control plane: it decides what the engine runs on, and traffic flows on when it is gone."""
