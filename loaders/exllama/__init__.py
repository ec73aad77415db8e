"""What the loaders of ExLlamaV2 and ExLlamaV3 share, and the code of each. Reached from inside functions only.

model_thread.py  the one thread that touches the GPU: it loads, and turns the generator's crank
backend.py       a request becomes a job, a job's events become chunks
folder.py        what the model's folder says of chats and tokens
guide.py         tokens' exact bytes and grammars, by llguidance
building.py      the import, which compiles CUDA code the first time
v2*.py, v3*.py   the libraries, each in its own words; only these import them
"""
