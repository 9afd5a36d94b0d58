"""Formats that hftbacktest's own converters read; they need the extra `backtest`, and read a file whole."""
