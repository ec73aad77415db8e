// counted, not compiled
