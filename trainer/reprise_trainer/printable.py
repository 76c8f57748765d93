"""Text of strangers, for a terminal: it can say anything, and move no cursor."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with what no terminal shows (control characters, line breaks, halves of surrogate pairs) escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
