"""Asking the model: opening it, what it is asked, what training had seen of it, the answers; the server."""
