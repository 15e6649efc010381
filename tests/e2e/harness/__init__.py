"""What the end-to-end tests stand on: a private PostgreSQL, a broker, a raw protocol client and a fake server."""
