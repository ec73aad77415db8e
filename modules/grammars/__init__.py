"""Grammars and JSON schemas: reading GBNF, their limits, and compiling them in a process that may be ended."""
