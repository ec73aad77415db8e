"""The HTTP side of the server: its own routes and what guards all routes. No Gradio in here."""
