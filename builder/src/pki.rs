//! The cluster's secrets folder: CA, certificates, SSH host keys.
