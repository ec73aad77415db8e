"""What belongs to the llama.cpp loader: its settings, and the two ways to hand them to an engine."""
