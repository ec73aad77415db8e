"""Engines that are servers of their own: what each kind takes, starting one, watching it, asking what it serves.

Standard library and psutil only. `flavours` is data and is read in the server process too; all else runs in the worker.
"""
