"""Where agent code runs: its folders, its process, its isolation and the link to its bridge."""
