"""What `start.py` does before there is a virtual environment. Standard library only."""
