"""Networks that come through sockets or from the host's folders."""
