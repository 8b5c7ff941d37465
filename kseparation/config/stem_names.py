"""What a stem may be called."""

# Stems become names of files on every system, and keys of configs.
STEM_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
