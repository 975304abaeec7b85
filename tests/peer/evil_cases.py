"""What an evil server does, and how the program must end: all cases, for `test_evil.py`."""

import evil_answers
import evil_connections
import evil_files
from evil_case import CASES, Case

__all__ = ["CASES", "Case"]
assert evil_connections and evil_answers and evil_files  # importing them fills the table
