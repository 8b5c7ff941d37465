"""Audio files in and out, resampling, the cutting of tracks into segments. NumPy arrays `(samples, channels)`, no Keras."""
