"""Levada: one OpenAI-compatible address in front of many inference servers.

Importing the package has no effects; the command line starts in `levada.cli`, the ASGI
application is made by `levada.app`.
"""
