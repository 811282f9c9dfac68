//! Docker Engine's HTTP API on its Unix socket.
