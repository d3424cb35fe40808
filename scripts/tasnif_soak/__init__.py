"""A service under more load than it can answer, from clients of all manners; `soak.py` runs it."""
