"""Pages for people: rendered here, kept fresh by one small script, with nothing from outside."""

from serving.pages.router import router

__all__ = ["router"]
