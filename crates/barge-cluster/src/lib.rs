//! What a cluster needs before services can run on it, rendered and applied.
