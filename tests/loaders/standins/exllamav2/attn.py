"""exllamav2 0.3.2, attn.py:27."""

from __future__ import annotations

import os

has_flash_attn_with_paged = os.environ.get("STANDIN_FLASH", "1") == "1"
