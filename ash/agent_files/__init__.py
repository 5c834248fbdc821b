"""What of an agent's folder travels, and how; the same by path and by upload."""
