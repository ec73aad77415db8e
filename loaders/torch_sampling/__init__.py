"""Turns logits into tokens with every sampler of modules/params, for engines that hand over their logits.

Imports torch at its top: only loader files reach it, from inside functions, in the worker.

    vocabulary.py   what is known of the model's tokens
    grammar.py      GBNF and JSON schemas as a mask over the vocabulary (llguidance)
    chain.py        one request's sampler: its state, its seed, `pick(logits)`
"""
