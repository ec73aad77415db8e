"""The web page: Gradio's page and tabs, and the chat's own surface inside it.

Nothing outside this package imports Gradio: it takes seconds of CPU, and --no-ui starts without it.
"""
