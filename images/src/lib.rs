//! Recipes that make Pi OS-like images from Debian packages, for tests and the demo.
