"""Settings of the program: the SETTINGS table, settings.yaml, the command line, and where files lie."""
