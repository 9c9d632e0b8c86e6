"""Placeholder until the real one is moved here."""



def preflight(config, run, device, world):  # type: ignore[no-untyped-def]
    """Nothing yet."""
