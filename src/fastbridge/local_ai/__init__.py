"""An AI server on loopback that speaks the OpenAI Realtime dialect."""
