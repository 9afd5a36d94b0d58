"""Captures of exchanges' websockets in the collector's line form: a local time, a blank, the message as JSON."""
