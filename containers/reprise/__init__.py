"""The host side: lock → artifacts → layers → image → signature → run → audit.

Each folder is one arrow of that way. May import `reprise_trainer` (for the formats that the trainer writes);
never the other way round.
"""

__version__ = "0.1.0"
