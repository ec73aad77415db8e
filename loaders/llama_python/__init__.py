"""What the llama-cpp-python loader does in its worker. Imports the engine: reached from inside functions only."""
