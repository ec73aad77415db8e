"""The Transformers engine. Imports torch at its top: only loaders/transformers.py reaches it, in the worker.

placing.py     which device, which number type, how much of each memory
quantising.py  making weights smaller while loading, and what that needs
opening.py     from files to a model on its devices
words.py       text to tokens and back, exact bytes, the chat template
cache.py       keys and values of several replies in one buffer
forward.py     one call of the model over such a cache
prefixes.py    computed prompts kept for the next turn
row.py         one reply while it is computed
scheduler.py   the one thread that computes: prompts in pieces, all replies a token at a time
stopping.py    ending a call of the model in its middle
trouble.py     memory that is given back, memory that ran out, other errors as people can read them
guessing.py    tokens guessed ahead and checked in one call (draft model, prompt lookup)
adapters.py    LoRA adapters, switched between replies
pictures.py    images: the marks of a prompt become tokens and pixels
engine.py      the backend the worker speaks to
embedding.py   the backend for embedding models
"""
