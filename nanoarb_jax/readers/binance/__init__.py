"""Binance's raw websocket feeds."""
