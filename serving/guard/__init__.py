"""Who may do what: start conditions, tokens, roles, sessions of the pages, and the middleware that applies them."""

from serving.guard.guard import Guard
from serving.guard.tokens import Identity

__all__ = ["Guard", "Identity"]
