//! What goes on each card: pure computation from cluster file, identities and image.
