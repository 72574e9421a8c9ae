"""Errors, atomic files, the typed params loader."""
