"""Judges from outside: suites and clients that others wrote, run on a backend and then through
Levada.

The law: what passes on the backend passes through Levada, by either door, but for what
`exceptions.txt` names with its reason.
"""
