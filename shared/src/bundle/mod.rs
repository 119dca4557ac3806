//! The signed file in which a model travels.
