"""What several nodes share: sockets, widgets, checks and traces."""
