"""Everything between the server process and the process an engine runs in."""
