"""The command ``glm``: one short file a command; parses, calls, prints."""
