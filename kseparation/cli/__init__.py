"""Flags, and the console command `kseparation <verb>`, which `apps/*.py` call too. Nothing here imports Keras before a verb runs."""
