"""Text in and out for engines that leave it to us: whole characters from tokens' bytes, chat templates, turns."""
