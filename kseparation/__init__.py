"""Music source separation, neural audio codecs and vector-quantised count models in Keras 3, on three backends."""

__version__ = "0.1.0"
