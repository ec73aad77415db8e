"""The one pipeline from a request to text: checks, context ledger, token counts, stream parser, stop strings."""
