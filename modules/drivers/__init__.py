"""How the server process speaks to each kind of engine: over a pipe, llama.cpp's server, OpenAI-compatible servers."""
