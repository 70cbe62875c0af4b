//! A client of the protocol for the command line, tests and load.
