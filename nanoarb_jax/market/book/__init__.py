"""The order book: levels and orders as arrays, what an event does to them, and `OrderBook` around both."""
