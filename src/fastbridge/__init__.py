"""A bridge between a phone call and a realtime speech AI."""

__version__ = "0.1.0"
