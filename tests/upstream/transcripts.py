"""Replaying recorded answers: a script that sends a transcript's bytes, whole or in pieces."""

from vectors import Transcript

from upstream.steps import Step, bytewise, close, send


def replay(transcript: Transcript, piece: int = 0) -> list[Step]:
    """Sends the recording in pieces of `piece` bytes (0: in one), then closes as its server did."""
    sending = bytewise(transcript.answer, size=piece) if piece else send(transcript.answer)
    return [sending, close()]
