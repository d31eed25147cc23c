"""A real engine for tests: llama.cpp's own server with a tiny random model made on the spot."""

from engine.launch import Engine
from engine.tiny_model import write_tiny_model

__all__ = ["Engine", "write_tiny_model"]
