"""Processor, memory and graphics devices of this machine, each read with a time limit."""
