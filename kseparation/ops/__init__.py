"""Pure functions of `keras.ops`, shared by layers, losses and metrics. Nothing here holds state."""
