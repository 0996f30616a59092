//! TCP: one connection and what it is made of.
