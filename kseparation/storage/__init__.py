"""Files that are whole or not there: atomic writing, the cache folder, checkpoints, the lock of a run. No Keras."""
