//! Starts each server, uses it for real, and stops and restarts it.
