"""Audio files in and out, resampling, cutting into segments. NumPy arrays `(samples, channels)`, no Keras."""
