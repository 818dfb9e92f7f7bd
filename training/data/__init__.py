"""Data sets in memory and the views that training takes of them."""
