//! What the panel shows.
